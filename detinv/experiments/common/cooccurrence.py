"""Co-occurrence: detections in an image made for one object, grouped into that object and its context."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from detinv.layouts.layout import Detections

PixelBox = tuple[float, float, float, float]
"""(x0, y0, x1, y1) in pixels of the image."""

SCORE_THRESH = 0.5
"""Score above which a detection counts. Source: paper, section 4.4.1."""
SAME_OBJECT_IOU = 0.5
"""IoU above which two boxes are taken to be of the same object."""


@dataclass(frozen=True)
class NamedDetection:
    """One detection with the name of its class.

    Args:
        name: of the class.
        score: in [0, 1].
        box: as reported.
    """

    name: str
    score: float
    box: PixelBox


@dataclass(frozen=True)
class TargetedObject:
    """The one object that an image was optimised for, and the output of the candidate that was optimised.

    Args:
        id: of the image.
        name: the target class.
        asked: the target box.
        anchor: the candidate's anchor, where it really lies; a second stage's region; the small box around the
            location of a head without anchors.
        box: what the candidate reports; of NaN where a transformer did not choose its query.
        score: probability of the target class at the candidate on the saved 8-bit image, whatever a quality output
            says.
    """

    id: str
    name: str
    asked: PixelBox
    anchor: PixelBox
    box: PixelBox
    score: float


@dataclass(frozen=True)
class GroupedDetections:
    """The detections in one image by their relation to the targeted object, most certain first in each group.

    Args:
        target: of the target class, overlapping the anchor or the candidate's box: the targeted object itself.
        confusions: of other classes at the same place: other names for the targeted object.
        context: all others.
    """

    target: Sequence[NamedDetection]
    confusions: Sequence[NamedDetection]
    context: Sequence[NamedDetection]


def group_detections(targeted: TargetedObject, detections: Sequence[NamedDetection]) -> GroupedDetections:
    """Tell the targeted object, confusions and context apart.

    A detection of the target class is the targeted object if it overlaps it at all. One of another class is a confusion
    if its IoU with the detected object, or with the target box where the object is not detected, exceeds
    `SAME_OBJECT_IOU`: what every look-alike has is no context.

    Args:
        detections: most certain first.

    Source: section G.5 of the method. Departures: confusions are a group of their own.
    """
    target = [
        one
        for one in detections
        if one.name == targeted.name and (iou(one.box, targeted.anchor) > 0 or iou(one.box, targeted.box) > 0)
    ]
    place = target[0].box if target else targeted.asked
    confusions = [one for one in detections if one.name != targeted.name and iou(one.box, place) > SAME_OBJECT_IOU]
    return GroupedDetections(
        target, confusions, [one for one in detections if one not in target and one not in confusions]
    )


def named_detections(detections: Detections, class_names: Sequence[str]) -> list[NamedDetection]:
    """List the detections above `SCORE_THRESH`, most certain first."""
    found = detections.above(SCORE_THRESH)
    return [
        NamedDetection(
            class_names[int(found.labels[row])], float(found.scores[row]), pixel_box(found.boxes[row].tolist())
        )
        for row in found.scores.argsort(descending=True).tolist()
    ]


def as_detections(
    detections: Sequence[NamedDetection], class_names: Sequence[str], image_size: tuple[int, int]
) -> Detections:
    """Convert named detections back, for drawing; classes are numbered as in `class_names`."""
    return Detections(
        torch.tensor([one.box for one in detections]).view(-1, 4),
        torch.tensor([one.score for one in detections]),
        torch.tensor([class_names.index(one.name) for one in detections], dtype=torch.int64),
        image_size,
    )


def iou(a: PixelBox, b: PixelBox) -> float:
    """Compute the intersection over union of two boxes; 0 for boxes of NaN."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    # min and max ignore NaN.
    if width <= 0 or height <= 0 or any(map(math.isnan, (*a, *b))):
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def centre(box: PixelBox) -> tuple[float, float]:
    """Return (x, y) of a box's middle."""
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def pixel_box(values: Sequence[float | None]) -> PixelBox:
    """Convert four numbers to a box; None, which stands for NaN in files, becomes NaN."""
    x0, y0, x1, y1 = (float("nan") if value is None else float(value) for value in values)
    return x0, y0, x1, y1
