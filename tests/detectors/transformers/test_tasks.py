"""What detectors of transformers are for: an inversion lowers its loss, and a detection is explained."""

import pytest
import torch

import detinv
from detinv.layouts.layout import Layout
from tests.fakes import block_image

pytest.importorskip("transformers", reason="needs the optional library transformers: pip install 'detinv[detr]'")

from tests.transformers_fakes import ARCHITECTURES, tiny_transformer  # noqa: E402

STEPS = 16


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_few_steps_lower_the_loss_and_the_default_method_explains(architecture):
    detector = tiny_transformer(architecture)
    height, width = detector.network_size((64, 96))
    box = torch.tensor([[0.2, 0.2, 0.7, 0.8]]) * torch.tensor([width, height, width, height])
    layout = Layout(box, torch.tensor([1]), (height, width), "one")
    result = detinv.invert(detector, [layout], steps=STEPS, progress=False, trainer={"accelerator": "cpu"})
    losses = [one["total"] for one in result.losses]
    assert min(losses[-3:]) < 0.9 * losses[0]

    image = block_image((64, 96), 1)
    (found,) = detector.detect([image])
    inside = found.boxes.clamp(min=0).minimum(torch.tensor([96.0, 64, 96, 64]))
    best = int(((inside[:, 2:] - inside[:, :2]).amin(1) > 8).float().argmax())
    maps = detinv.attribute(detector, [image], [inside[best : best + 1]], [found.labels[best : best + 1]])
    assert len(maps) == 1
    heat = maps[0].heat()
    assert heat.isfinite().all()
    assert heat.max() > 0
