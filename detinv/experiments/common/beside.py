"""What is seen beside an object that an image was made for: driven object, other names for it, and context."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from detinv.layouts.layout import Detections

PixelBox = tuple[float, float, float, float]
"""(x0, y0, x1, y1) in pixels of the image."""

SEEN = 0.5
"""Score above which a detection counts as seen. Source: paper, section 4.4.1."""
SAME_PLACE = 0.5
"""IoU above which two boxes are about the same object."""


@dataclass(frozen=True)
class Sighting:
    """One detection.

    Args:
        name: of its class.
        score: in [0, 1].
        box: as reported.
    """

    name: str
    score: float
    box: PixelBox


@dataclass(frozen=True)
class Driven:
    """What the driven candidate says of the image that was made for it.

    Args:
        id: of the image.
        name: the class asked for.
        asked: the box asked for.
        anchor: the anchor that was driven, as it really lies; a second stage's region; the small box around the
            location of a head without anchors.
        box: what the candidate reports; of NaN where a transformer did not choose its query.
        score: probability of the class at the candidate on the saved 8-bit image, whatever a quality output says.
    """

    id: str
    name: str
    asked: PixelBox
    anchor: PixelBox
    box: PixelBox
    score: float


@dataclass(frozen=True)
class Reading:
    """What is seen in one image, told apart by what it has to do with the driven object; most certain first.

    Args:
        objects: the driven object itself: sightings of its class that overlap the anchor or the candidate's box.
        rivals: other names for it: sightings of other classes at its very place.
        context: all others.
    """

    objects: Sequence[Sighting]
    rivals: Sequence[Sighting]
    context: Sequence[Sighting]


def read(driven: Driven, seen: Sequence[Sighting]) -> Reading:
    """Tell driven object, rivals and context apart.

    Any overlap makes a sighting of the class the driven object. A sighting of another class is a rival when its IoU
    with the driven object, or with the box asked for where the object is not seen, exceeds `SAME_PLACE`: what every
    look-alike has is no context.

    Args:
        seen: most certain first.

    Source: section G.5 of the method. Departures: rivals are told apart.
    """
    objects = [
        one
        for one in seen
        if one.name == driven.name and (iou(one.box, driven.anchor) > 0 or iou(one.box, driven.box) > 0)
    ]
    place = objects[0].box if objects else driven.asked
    rivals = [one for one in seen if one.name != driven.name and iou(one.box, place) > SAME_PLACE]
    return Reading(objects, rivals, [one for one in seen if one not in objects and one not in rivals])


def sightings(detections: Detections, class_names: Sequence[str]) -> list[Sighting]:
    """The detections above `SEEN`, most certain first."""
    found = detections.above(SEEN)
    return [
        Sighting(class_names[int(found.labels[row])], float(found.scores[row]), pixel_box(found.boxes[row].tolist()))
        for row in found.scores.argsort(descending=True).tolist()
    ]


def as_detections(seen: Sequence[Sighting], class_names: Sequence[str], image_size: tuple[int, int]) -> Detections:
    """The sightings again as detections, for drawing; classes numbered as in `class_names`."""
    return Detections(
        torch.tensor([one.box for one in seen]).view(-1, 4),
        torch.tensor([one.score for one in seen]),
        torch.tensor([class_names.index(one.name) for one in seen], dtype=torch.int64),
        image_size,
    )


def iou(a: PixelBox, b: PixelBox) -> float:
    """Intersection over union of two boxes; 0 for boxes of NaN."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    # min and max pass over NaN.
    if width <= 0 or height <= 0 or any(map(math.isnan, (*a, *b))):
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def centre(box: PixelBox) -> tuple[float, float]:
    """(x, y) of a box's middle."""
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def pixel_box(values: Sequence[float | None]) -> PixelBox:
    """Four numbers as a box; None, which files have for NaN, is NaN."""
    x0, y0, x1, y1 = (float("nan") if value is None else float(value) for value in values)
    return x0, y0, x1, y1
