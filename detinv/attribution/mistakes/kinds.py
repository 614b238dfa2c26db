"""Which objects were found, and what is wrong with every other object and detection.

Legend: D detections and N objects of one image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch
from jaxtyping import Float
from torch import Tensor

from detinv.errors import ConfigError
from detinv.inputs.ranges import check_range
from detinv.layouts.boxes import area, pairwise_iou
from detinv.layouts.layout import Detections, Layout

# As in COCO's evaluation: a threshold of 1 can be reached.
_ROUNDING = 1e-10


class Kind(StrEnum):
    """What became of an object or a detection."""

    FOUND = "found"
    WRONG_CLASS = "wrong class"
    BADLY_PLACED = "badly placed"
    BOTH = "both"
    DUPLICATE = "duplicate"
    BACKGROUND = "background"
    MISSED = "missed"
    IGNORED = "ignored"


OF_OBJECTS = (Kind.FOUND, Kind.WRONG_CLASS, Kind.BADLY_PLACED, Kind.MISSED)
"""Kinds that an object can have."""
OF_DETECTIONS = (Kind.FOUND, Kind.WRONG_CLASS, Kind.BADLY_PLACED, Kind.BOTH, Kind.DUPLICATE, Kind.BACKGROUND)
"""Kinds that a detection can have, besides "ignored"."""


@dataclass(frozen=True)
class Thresholds:
    """When a detection counts, and when it is an object's.

    Args:
        fg_iou_thresh: IoU from which a detection is an object's.
        bg_iou_thresh: IoU below which it has nothing to do with the object.
        score_thresh: detections whose score is not above it do not count.

    Raises:
        ConfigError: for a threshold outside 0 ... 1, an `fg_iou_thresh` of 0, or a `bg_iou_thresh` above it.
    """

    fg_iou_thresh: float = 0.5
    bg_iou_thresh: float = 0.1
    score_thresh: float = 0.5

    def __post_init__(self) -> None:
        # At 0 every detection would be every object's.
        check_range(self, "fg_iou_thresh", most=1, above=True)
        check_range(self, "bg_iou_thresh score_thresh", most=1)
        if self.bg_iou_thresh > self.fg_iou_thresh:
            raise ConfigError(
                f"bg_iou_thresh={self.bg_iou_thresh}: must not exceed fg_iou_thresh, {self.fg_iou_thresh}"
            )


@dataclass(frozen=True)
class Judged:
    """The kinds of the objects and detections of one image.

    Args:
        objects: kind of each object.
        found_by: for each object, the number of the detection that is, or nearly is, the object's; -1 for missed ones.
        detections: kind of each detection.
        about: for each detection, the number of the object that it is about; -1 for background and ignored ones.
        iou: of each detection with each object.
    """

    objects: list[Kind]
    found_by: list[int]
    detections: list[Kind]
    about: list[int]
    iou: Float[Tensor, "detection object"]


def judge(truth: Layout, found: Detections, thresholds: Thresholds, crowds: Layout | None = None) -> Judged:
    """Match detections to objects as COCO's evaluation does, and name what is wrong with the others.

    In order of descending score, each detection takes the object of its class that it overlaps most among those still
    free, if the IoU reaches `fg_iou_thresh`. Of the others, a detection is

    - "ignored" where it lies in a crowd of its class,
    - a "duplicate" where it reaches `fg_iou_thresh` with an object of its class, which is taken,
    - of the "wrong class" where it reaches it with an object of another class,
    - "badly placed" where it reaches only `bg_iou_thresh`, with an object of its class,
    - "both" where it does so with an object of another class only,
    - and "background" otherwise.

    An object that no detection took has the wrong class or is badly placed where a detection says so, and is missed
    otherwise.

    Args:
        found: of the image, whatever their score; of `thresholds.score_thresh`, nothing is asked here.
        crowds: regions in which objects of a class were not told apart; by default none.

    Source: Bolya et al. 2020, "TIDE", section 2.2 (the kinds, and 0.5 and 0.1 as thresholds); COCO's evaluation for
        matching. Departures: TIDE's code asks whether a detection is badly placed before it asks about the wrong class,
        so that a neighbour of the detection's class that it barely touches outweighs the object that it covers.
    """
    boxes, labels = found.boxes.cpu().double(), found.labels.cpu()
    iou = pairwise_iou(boxes, truth.boxes.cpu().double())
    same = labels[:, None] == truth.labels.cpu()
    matches = _matched(iou * same, found.scores.cpu(), min(thresholds.fg_iou_thresh, 1 - _ROUNDING))
    objects, found_by = [Kind.MISSED] * len(truth), [-1] * len(truth)
    for row, taken in enumerate(matches):
        if taken >= 0:
            objects[taken], found_by[taken] = Kind.FOUND, row
    ignored = _in_crowd(boxes, labels, crowds, thresholds.fg_iou_thresh)
    kinds, about = [], []
    for row in range(len(found)):
        if matches[row] >= 0:
            kind, which = Kind.FOUND, matches[row]
        elif ignored[row]:
            kind, which = Kind.IGNORED, -1
        else:
            kind, which = _false(iou[row], same[row], thresholds)
        kinds.append(kind)
        about.append(which)
    # Best first, so that an object is described by the best of its detections.
    for row in found.scores.argsort(descending=True, stable=True).tolist():
        kind, which = kinds[row], about[row]
        nearly = kind in (Kind.WRONG_CLASS, Kind.BADLY_PLACED)
        if nearly and (
            objects[which] == Kind.MISSED or (objects[which], kind) == (Kind.BADLY_PLACED, Kind.WRONG_CLASS)
        ):
            objects[which], found_by[which] = kind, row
    return Judged(objects, found_by, kinds, about, iou.float())


def _matched(
    iou: Float[Tensor, "detection object"], scores: Float[Tensor, " detection"], threshold: float
) -> list[int]:
    """Return the object that each detection takes, or -1; `iou` is 0 where the classes differ."""
    overlaps: Sequence[Sequence[float]] = iou.tolist()
    taken = [-1] * len(overlaps)
    free = set(range(iou.shape[1]))
    for row in scores.argsort(descending=True, stable=True).tolist():
        # Of equal overlaps COCO takes the last.
        best = max(free, key=lambda one: (overlaps[row][one], one), default=None)
        if best is not None and 0 < threshold <= overlaps[row][best]:
            taken[row] = best
            free.remove(best)
    return taken


def _false(iou: Float[Tensor, " object"], same: Tensor, thresholds: Thresholds) -> tuple[Kind, int]:
    """Return the kind of a detection that took no object, and the object that it is about."""
    if not len(iou):
        return Kind.BACKGROUND, -1
    (own, nearest_own), (other, nearest_other) = (
        (float(value), int(place)) for value, place in ((iou * same).max(0), (iou * ~same).max(0))
    )
    if own >= thresholds.fg_iou_thresh:
        return Kind.DUPLICATE, nearest_own
    if other >= thresholds.fg_iou_thresh:
        return Kind.WRONG_CLASS, nearest_other
    if own > 0 and own >= thresholds.bg_iou_thresh:
        return Kind.BADLY_PLACED, nearest_own
    if other > 0 and other >= thresholds.bg_iou_thresh:
        return Kind.BOTH, nearest_other
    return Kind.BACKGROUND, -1


def _in_crowd(
    boxes: Float[Tensor, "detection 4"], labels: Tensor, crowds: Layout | None, threshold: float
) -> list[bool]:
    """Tell which boxes lie in a crowd of their class, by the share of their own area."""
    if crowds is None or not len(crowds):
        return [False] * len(boxes)
    regions = crowds.boxes.double()
    shared = area(
        torch.cat(
            [
                torch.maximum(boxes[:, None, :2], regions[None, :, :2]),
                torch.minimum(boxes[:, None, 2:], regions[None, :, 2:]),
            ],
            -1,
        )
    )
    share = shared / area(boxes)[:, None].clamp(min=torch.finfo(torch.float64).tiny)
    inside: list[bool] = ((share >= threshold) & (labels[:, None] == crowds.labels)).any(1).tolist()
    return inside
