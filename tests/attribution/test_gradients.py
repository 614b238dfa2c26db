"""Gradients of many scalars at once are those of one at a time."""

import pytest
import torch

from detinv.attribution.core.forward import run_forward
from detinv.attribution.core.gradients import gradients
from detinv.attribution.core.objects import annotated_objects
from detinv.attribution.core.questions import Question
from tests.fakes import block_image, tiny_detector

QUESTIONS = (Question("class"), Question("contrast"), Question("left"), Question("box"))


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("family", ["retinanet", "fcos", "fasterrcnn", "maskrcnn", "ssd"])
@pytest.mark.parametrize("memory", [0, 2**30])
def test_a_batch_of_scalars_has_the_gradients_of_a_loop(family: str, memory: int):
    detector, image = tiny_detector(family), block_image((64, 64))
    boxes = torch.tensor([[4.0, 6.0, 40.0, 50.0], [20.0, 8.0, 60.0, 30.0]])
    objects = annotated_objects(detector, image, boxes, torch.tensor([0, 2]))
    layers = [layer for layer in detector.feature_layers() if layer.name in ("c1", "c3", "p3", "roi")]
    passed = run_forward(detector, image, objects, layers, with_pixels=True)
    values = passed.scalars(QUESTIONS).flatten()
    tensors = [*(passed.features[layer.name] for layer in layers), passed.pixels]
    together = [
        torch.cat(parts) for parts in zip(*(found for _, found in gradients(values, tensors, memory)), strict=True)
    ]
    for number, value in enumerate(values):
        alone = torch.autograd.grad(value, tensors, retain_graph=True, allow_unused=True, materialize_grads=True)
        for many, one in zip(together, alone, strict=True):
            scale = max(float(one.abs().max()), 1e-6)
            torch.testing.assert_close(many[number] / scale, one / scale, atol=1e-5, rtol=0)


def test_chunks_cover_all_scalars_in_order():
    weights = torch.arange(12.0).reshape(4, 3)
    point = torch.ones(3, requires_grad=True)
    values = weights @ point
    parts = list(gradients(values, [point], memory=2 * 3 * 4))
    assert [(part.start, part.stop) for part, _ in parts] == [(0, 2), (2, 4)]
    assert torch.equal(torch.cat([found for _, (found,) in parts]), weights)
