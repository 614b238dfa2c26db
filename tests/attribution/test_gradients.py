"""Gradients of many scalars at once are those of one at a time."""

import pkgutil

import pytest
import torch

from detinv.attribution.core.forward import ForwardPass, run_forward
from detinv.attribution.core.gradients import gradients, seeds_of
from detinv.attribution.core.objects import annotated_objects
from detinv.attribution.core.questions import Question
from detinv.attribution.core.windows import window_seeds
from detinv.detectors.load import load_detector
from tests.fakes import block_image, tiny_detector

QUESTIONS = (Question("class"), Question("contrast"), Question("left"), Question("box"))


def assert_equal_to_a_loop(passed: ForwardPass, seeds: list, tensors: list[torch.Tensor], memory: int) -> None:
    """Assert that the gradients from `seeds` are those of one backward pass for each scalar, whatever their order."""
    values = passed.scalars(QUESTIONS).flatten()
    seen = []
    for scalars, found in gradients(seeds, tensors, memory):
        for index, number in enumerate(scalars.tolist()):
            alone = torch.autograd.grad(
                values[number], tensors, retain_graph=True, allow_unused=True, materialize_grads=True
            )
            for many, one in zip(found, alone, strict=True):
                scale = max(float(one.abs().max()), 1e-6)
                torch.testing.assert_close(many[index] / scale, one / scale, atol=1e-5, rtol=0)
            seen.append(number)
    assert sorted(seen) == list(range(len(values)))


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("family", ["retinanet", "fcos", "fasterrcnn", "maskrcnn", "ssd"])
@pytest.mark.parametrize("memory", [0, 2**30])
def test_a_batch_of_scalars_has_the_gradients_of_a_loop(family: str, memory: int):
    detector, image = tiny_detector(family), block_image((64, 64))
    boxes = torch.tensor([[4.0, 6.0, 40.0, 50.0], [20.0, 8.0, 60.0, 30.0]])
    objects = annotated_objects(detector, image, boxes, torch.tensor([0, 2]))
    layers = [layer for layer in detector.feature_layers() if layer.name in ("c1", "c3", "p3", "roi")]
    passed = run_forward(detector, image, objects, QUESTIONS, layers, with_pixels=True)
    tensors = [*(passed.features[layer.name] for layer in layers), passed.pixels]
    assert_equal_to_a_loop(passed, [seeds_of(passed.scalars(QUESTIONS).flatten())], tensors, memory)


@pytest.mark.parametrize("name", ["shapes_retinanet", "shapes_fcos"])
@pytest.mark.parametrize("memory", [0, 2**30])
def test_windows_of_the_head_give_the_gradients_of_the_whole(memory: int, name: str):
    """With objects in corners, at the border and inside of a level that is larger than a window."""
    detector, image = load_detector(name), block_image((128, 128))
    window, levels = detector.head_window(), detector.level_layers()
    assert window is not None and (window.radius is None or 2 * window.radius + 1 < 128 // 8)
    places = [(0, 0, 20, 20), (104, 106, 128, 128), (50, 54, 74, 76), (0, 60, 20, 84), (20, 10, 100, 90)]
    objects = annotated_objects(detector, image, torch.tensor(places).float(), torch.tensor([0, 1, 2, 0, 1]))
    early = [layer for layer in detector.feature_layers() if layer.name == "c2"]
    passed = run_forward(detector, image, objects, QUESTIONS, [*early, *levels], with_pixels=True)
    assert len(detector.row_levels(passed.predictions)[0][passed.rows.rows].unique()) > 1
    tensors = [*(passed.features[layer.name] for layer in (*early, *levels)), passed.pixels]
    assert_equal_to_a_loop(passed, list(window_seeds(window, levels, passed, QUESTIONS)), tensors, memory)


def test_a_large_head_gives_the_gradients_of_the_whole_by_shorter_ways(monkeypatch):
    """Of FCOS at its usual number of channels: by Winograd's algorithm and with GroupNorm's gradient in closed form."""
    seen = []
    for name in ("short_convolutions.convolved", "group_norm._GroupNorm.apply"):
        path = f"detinv.detectors.acceleration.{name}"
        ordinary = pkgutil.resolve_name(path)
        monkeypatch.setattr(
            path, lambda x, *rest, name=name, do=ordinary: (seen.append((name, *x.shape)), do(x, *rest))[1]
        )
    detector = load_detector("fcos_resnet50_fpn", weights="random", image_size=[96, 96])
    image, window, levels = block_image((96, 96)), detector.head_window(), detector.level_layers()
    assert window is not None
    objects = annotated_objects(
        detector, image, torch.tensor([[20.0, 30.0, 50.0, 60.0], [0.0, 8.0, 30.0, 30.0]]), torch.tensor([0, 5])
    )
    passed = run_forward(detector, image, objects, QUESTIONS, levels)
    tensors = [passed.features[layer.name] for layer in levels]
    assert_equal_to_a_loop(passed, list(window_seeds(window, levels, passed, QUESTIONS)), tensors, 2**30)
    assert {("short_convolutions.convolved", 1, 256, 12, 12), ("group_norm._GroupNorm.apply", 1, 256, 12, 12)} <= {
        *seen
    }


def test_regions_alone_say_what_they_say_beside_the_proposals():
    detector, image = tiny_detector("maskrcnn"), block_image((64, 64))
    boxes = torch.tensor([[4.0, 6.0, 40.0, 50.0], [20.0, 8.0, 60.0, 30.0]])
    objects = annotated_objects(detector, image, boxes, torch.tensor([0, 2]))
    asked = (*QUESTIONS, Question("mask"))
    alone = run_forward(detector, image, objects, asked)
    beside = run_forward(detector, image, objects, (*asked, Question("objectness")))
    assert alone.predictions.roi is not None and beside.predictions.roi is not None
    assert alone.predictions.roi.rois.shape[1] == 2 < beside.predictions.roi.rois.shape[1]
    torch.testing.assert_close(alone.scalars(asked), beside.scalars(asked), atol=1e-5, rtol=1e-5)


def test_chunks_cover_all_scalars_in_order():
    weights = torch.arange(12.0).reshape(4, 3)
    point = torch.ones(3, requires_grad=True)
    parts = list(gradients([seeds_of(weights @ point)], [point], memory=2 * 3 * 4))
    assert [scalars.tolist() for scalars, _ in parts] == [[0, 1], [2, 3]]
    assert torch.equal(torch.cat([found for _, (found,) in parts]), weights)
