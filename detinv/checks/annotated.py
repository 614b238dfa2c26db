"""A claim about photographs: the detector finds what is annotated, and would not find more with a usual mistake undone.

`forward` and `detect` may share a mistake, which no comparison of the two can show: a network that is fed BGR for RGB
still works, only worse.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from detinv.checks.finding import Finding
from detinv.checks.trial import AdapterTrial
from detinv.layouts.layout import Detections
from detinv.metrics.coco_ap import average_precision_above

# A mistake is one if undoing it raises AP50, or AP, by this factor and by this many percent.
_FACTOR, _LEAST = 1.1, 1.0
# Share of AP50 that AP falls below where boxes do not fit; real detectors have about a half.
_TIGHT = 0.33

Scores = tuple[float, float]
"""AP50 and AP, in percent."""


def detections_are_the_annotated_objects(trial: AdapterTrial) -> Finding:
    """AP of the detector's inference on annotated photographs is above 0, and no usual mistake undone raises it."""
    photographs, own = trial.photographs, trial.detector.detect(trial.photographs)
    found = _scores(trial, own)
    objects = sum(map(len, trial.truth))
    measured = f"AP50 {found[0]:.1f}, AP {found[1]:.1f} over {objects} objects in {len(photographs)} images"
    best: tuple[float, str, Scores] = (1.0, "", found)
    for advice, changed in _undone(trial, own):
        other = _scores(trial, changed)
        gain = max(_gain(before, after) for before, after in zip(found, other, strict=True))
        if gain > best[0]:
            best = (gain, advice, other)
    if best[1]:
        better = f"AP50 {best[2][0]:.1f}, AP {best[2][1]:.1f} with that undone"
        return Finding(False, f"{measured}; {better}", best[1])
    if found[0] == 0:
        advice = "nothing is found: look at class_names, at the weights, and at what detect() does to the pixels"
        return Finding(False, measured, advice)
    if found[1] < _TIGHT * found[0]:
        return Finding(
            False, measured, "AP50 is high and AP low: classes are right and boxes do not fit; look at decode()"
        )
    return Finding(True, measured)


def _gain(before: float, after: float) -> float:
    """Return by which factor a number rises; 1 where it does not rise enough to mean anything."""
    return after / max(before, 1e-3) if after > max(_FACTOR * before, before + _LEAST) else 1.0


def _scores(trial: AdapterTrial, found: Sequence[Detections]) -> Scores:
    names = trial.detector.class_names
    ap, ap50 = average_precision_above(trial.truth, [replace(one, masks=None) for one in found], names, 0.0)
    return ap50, ap


def _undone(trial: AdapterTrial, own: Sequence[Detections]) -> Iterator[tuple[str, list[Detections]]]:
    """Yield advice, and what the detector would report with a mistake undone."""
    yield (
        "colour order: more is found in images whose channels are exchanged; RGB and BGR are exchanged in forward() "
        "and in detect()",
        trial.detector.detect([image.flip(0) for image in trial.photographs]),
    )
    classes = len(trial.detector.class_names)
    for step in (-1, 1):
        yield (
            "classes are off by one, in class_names or because the background comes first",
            [replace(one, labels=(one.labels + step) % classes) for one in own],
        )
    yield (
        "frame of the boxes: detect() must return them in pixels of each image, not of the network's input",
        [replace(one, boxes=_in_image(trial, one)) for one in own],
    )
    yield "x and y of the boxes are exchanged", _with_boxes(own, _exchanged)
    for factor in (2.0, 0.5):
        yield (
            f"sides of the boxes: they fit better {factor:g} times as long; half sides are taken for whole ones, or "
            "the reverse",
            _with_boxes(own, partial(_scaled, factor)),
        )
    for stride in sorted(set(_strides(trial))):
        for x, y in ((0.5, 0.5), (-0.5, -0.5)):
            yield (
                f"half a cell: boxes fit better shifted by {x * stride:g} px of the network's input in x and "
                f"{y * stride:g} in y; the grid starts half a stride off",
                [replace(one, boxes=_shifted(trial, one, x * stride, y * stride)) for one in own],
            )


def _with_boxes(own: Sequence[Detections], change: Callable[[Tensor], Tensor]) -> list[Detections]:
    return [replace(one, boxes=change(one.boxes)) for one in own]


def _in_image(trial: AdapterTrial, found: Detections) -> Float[Tensor, "object 4"]:
    """Take boxes for those in the network's input, and convert them to pixels of the image."""
    seen = trial.detector.network_size(found.image_size)
    return trial.detector.boxes_in_image(found.boxes, seen, found.image_size)


def _exchanged(boxes: Float[Tensor, "object 4"]) -> Float[Tensor, "object 4"]:
    return boxes[:, [1, 0, 3, 2]]


def _scaled(factor: float, boxes: Float[Tensor, "object 4"]) -> Float[Tensor, "object 4"]:
    middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, factor * (boxes[:, 2:] - boxes[:, :2]) / 2
    return torch.cat([middle - half, middle + half], dim=1)


def _strides(trial: AdapterTrial) -> tuple[int, ...]:
    size = trial.sizes[0]
    head = trial.predicted(size).dense.head
    return head.strides_on(trial.canvas_of(size)) if head.assigner is not None else ()


def _shifted(trial: AdapterTrial, found: Detections, x: float, y: float) -> Float[Tensor, "object 4"]:
    """Shift boxes by pixels of the network's input."""
    seen = trial.detector.network_size(found.image_size)
    scale_x, scale_y = found.image_size[1] / seen[1], found.image_size[0] / seen[0]
    return found.boxes + found.boxes.new_tensor([x * scale_x, y * scale_y] * 2)
