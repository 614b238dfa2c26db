from collections.abc import Callable

import pytest
import torch

from detinv.layouts.layout import Detections, Layout
from detinv.metrics.coco_ap import average_precision
from detinv.metrics.redetection import redetection
from detinv.results.reports.inversion_result import InversionResult
from detinv.worlds.plain import PlainWorld


def _sample(count: int, size: tuple[int, int] = (64, 64), masks: bool = True) -> InversionResult:
    generator = torch.Generator().manual_seed(count)
    world = PlainWorld(image_size=size, seed=4, max_side=40)
    layouts, images, detections = [], [], []
    for index in range(count):
        layout = world.scene(index).layout
        images.append(torch.randint(0, 256, (3, *size), generator=generator).to(torch.uint8))
        scores = torch.rand(len(layout), generator=generator) * 0.4 + 0.6
        shown = layout.masks if masks else None
        detections.append(Detections(layout.boxes, scores, layout.labels, size, shown))
        layouts.append(layout if masks else layout.without_masks())
    metrics: dict[str, object] = dict(average_precision(layouts, detections, world.class_names))
    metrics |= redetection(layouts, detections)
    metrics |= {"steps": 20, "seconds": 1.25, "weight_hash": "0123abcd", "versions": {"torch": "9.9.9"}}
    losses = [
        {"step": step, "batch": batch, "total": 10.0 / (step + 1), "total_variation": 0.1 * step}
        for batch in range(2)
        for step in range(0, 20, 5)
    ]
    return InversionResult(layouts, images, {"tiny": detections}, world.class_names, metrics, losses)


@pytest.fixture
def sample() -> Callable[..., InversionResult]:
    """Makes a result of `count` noise images in which everything is found."""
    return _sample


@pytest.fixture
def empty_layout() -> Layout:
    return Layout(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), (30, 40), "nothing at all")
