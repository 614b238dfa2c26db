"""DETR-type detectors of transformers in steps of an inversion: no image depends on the others of its batch."""

import pytest
import torch

from detinv.inversion.modules.network import Network
from detinv.inversion.modules.workers import cpu_threads

pytest.importorskip("transformers", reason="needs the optional library transformers: pip install 'detinv[detr]'")

from tests.transformers_fakes import ARCHITECTURES, tiny_transformer  # noqa: E402


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_image_has_the_same_bits_in_any_batch(architecture):
    network = Network(tiny_transformer(architecture))
    network.threads = 2
    network.prepare()
    height, width = network.detector.network_size((64, 64))
    pixels = torch.rand(5, 3, height, width, generator=torch.Generator().manual_seed(0))

    def results(count: int) -> list[torch.Tensor]:
        images = pixels[:count].clone().requires_grad_()
        outputs = [output[:count] for output in network(images).outputs()]
        weights = [torch.linspace(-1, 1, output[0].numel()).view(output[0].shape) for output in outputs]
        total = sum((weight * output).sum() for weight, output in zip(weights, outputs, strict=True))
        return [*(output.detach() for output in outputs), *torch.autograd.grad(total, images)]

    with cpu_threads(1):
        whole = results(5)
        for count in (1, 2, 3):
            for some, every in zip(results(count), whole, strict=True):
                assert torch.equal(some, every[:count])
