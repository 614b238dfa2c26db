"""What the measures say of an image's maps, and their means over all images."""

import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from detinv.attribution.core.objects import ExplainedObjects
from detinv.attribution.explain import ExplainedImage
from detinv.attribution.metrics.base import Truth
from detinv.attribution.metrics.preset import MetricPreset, measured
from detinv.detectors.base import AbstractDetector
from detinv.layouts.layout import Layout
from detinv.metrics.intervals import mean_interval


def measures_of(
    explained: ExplainedImage,
    detector: AbstractDetector,
    image: UInt8[Tensor, "3 height width"],
    objects: ExplainedObjects,
    layout: Layout | None,
    preset: MetricPreset,
    names: Sequence[str],
    seed: int,
) -> list[dict[str, float]]:
    """Return the measures of each map, in the order of `explained.attributions`.

    Maps are as large as the image, so those of one object at a time are made.

    Args:
        layout: the objects as they were annotated, in the same order; None to take the boxes that are explained.
        names: of measures; see `MetricPreset.chosen`.
        seed: of what is random in insertion and deletion.
    """
    if not len(objects):
        return []
    boxes = objects.boxes if layout is None else layout.boxes
    masks = None if layout is None else layout.masks
    each = len(explained.attributions) // len(objects)
    found: list[dict[str, float]] = []
    for number in range(len(objects)):
        heats = torch.stack([one.heat() for one in explained.attributions[number * each : (number + 1) * each]])
        alone, truth = objects.select(torch.tensor([number])), _truth(boxes, masks, number)
        (mine,) = measured(preset, names, detector, image, alone, [truth], heats[None], seed)
        found += mine
    return found


def means_of(measures: Sequence[Mapping[str, float | None]]) -> dict[str, dict[str, float | int | None]]:
    """Return mean, bounds of its 95 % interval and number of maps of each measure, over those that have it."""
    found: dict[str, dict[str, float | int | None]] = {}
    for name in dict.fromkeys(name for one in measures for name in one):
        values = [value for one in measures if (value := one.get(name)) is not None and math.isfinite(value)]
        mean = mean_interval(values)
        found[name] = {"mean": mean.value, "low": mean.low, "high": mean.high, "maps": len(values)}
    return found


def _truth(boxes: Float[Tensor, "object 4"], masks: Tensor | None, number: int) -> Truth:
    x0, y0, x1, y1 = boxes[number].tolist()
    others = torch.arange(len(boxes)) != number
    return Truth((x0, y0, x1, y1), boxes[others], None if masks is None else masks[number])
