"""Which rows of a dense head an object trains.

Legend: B images, M object slots, A rows (anchors), C candidates.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from detinv.layouts.boxes import area, pairwise_iou
from detinv.layouts.matching import distinct_best

# Number of rows from which the positive term of an object picks the one with the highest logit.
_CANDIDATES = 16


@dataclass(frozen=True)
class Assignment:
    """The rows that training would assign to the objects of a batch of layouts.

    Args:
        owner: object slot to which each row is assigned, -1 for none; every object has at least one row.
        background: rows so far from every object that training treats them as background.
        candidates: rows of each object that training treats as positive, best first.
        candidates_valid: false for candidates that are padding; the first candidate of a valid object never is.
        strength: classification target of the owner's class at each assigned row, in (0, 1]; 1 everywhere if None.
    """

    owner: Int64[Tensor, "batch anchor"]
    background: Bool[Tensor, "batch anchor"]
    candidates: Int64[Tensor, "batch object candidate"]
    candidates_valid: Bool[Tensor, "batch object candidate"]
    strength: Float[Tensor, "batch anchor"] | None = None


@runtime_checkable
class StaticAssigner(Protocol):
    """Assigns rows to objects from anchors and layout alone, so the result holds for as long as the layout does."""

    def assign(
        self,
        anchors: Float[Tensor, "anchor 4"],
        level_sizes: tuple[int, ...],
        boxes: Float[Tensor, "batch object 4"],
        valid: Bool[Tensor, "batch object"],
    ) -> Assignment: ...


@runtime_checkable
class DynamicAssigner(Protocol):
    """Assigns rows to objects from the current predictions, again in every step.

    Args:
        log_scores: logarithmic score of every class at every row, without gradient.
        decoded: decoded box XYXY of every row, in pixels, without gradient.
    """

    def assign_predicted(
        self,
        anchors: Float[Tensor, "anchor 4"],
        level_sizes: tuple[int, ...],
        boxes: Float[Tensor, "batch object 4"],
        labels: Int64[Tensor, "batch object"],
        valid: Bool[Tensor, "batch object"],
        log_scores: Float[Tensor, "batch anchor class"],
        decoded: Float[Tensor, "batch anchor 4"],
    ) -> Assignment: ...


Assigner = StaticAssigner | DynamicAssigner


@dataclass(frozen=True)
class AnchorAssigner:
    """Assigns by the IoU of anchor and object, as RetinaNet and region proposal networks do.

    Args:
        fg_iou_thresh: an anchor with at least this IoU belongs to the object that it overlaps most.
        bg_iou_thresh: an anchor with less than this IoU with every object is background.
        candidate_iou_thresh: anchors with at least this IoU are candidates of the positive term.

    Source: section B.1 of the method as published in code: 0.7 / 0.3, with low-quality matches.
    Departures: each object keeps its best anchor, which the published matcher may assign to another object.
    """

    fg_iou_thresh: float = 0.7
    bg_iou_thresh: float = 0.3
    candidate_iou_thresh: float = 0.5

    def assign(
        self,
        anchors: Float[Tensor, "anchor 4"],
        level_sizes: tuple[int, ...],
        boxes: Float[Tensor, "batch object 4"],
        valid: Bool[Tensor, "batch object"],
    ) -> Assignment:
        iou = pairwise_iou(boxes, anchors.expand(len(boxes), -1, -1))
        iou = torch.where(valid[..., None], iou, -1.0)
        highest, nearest = iou.max(dim=1)
        best_of_object = iou.amax(dim=2, keepdim=True).clamp(min=torch.finfo(iou.dtype).eps)
        low_quality = (iou >= best_of_object).any(dim=1)
        owner = torch.where((highest >= self.fg_iou_thresh) | low_quality, nearest, -1)
        best = distinct_best(iou, valid)
        owner = give_rows(owner, best, valid)
        # A row that has become another object's best is no candidate of the one it overlaps most.
        nearest = torch.where(owner >= 0, owner, nearest)
        mine = nearest[:, None] == torch.arange(boxes.shape[1], device=boxes.device)[:, None]
        affinity = torch.where(mine, iou, -1.0).scatter(2, best[..., None], 2.0)
        value, candidates = affinity.topk(min(_CANDIDATES, len(anchors)), dim=2)
        return Assignment(
            owner,
            (highest < self.bg_iou_thresh) & (owner < 0),
            candidates,
            (value >= self.candidate_iou_thresh) & valid[..., None],
        )


@dataclass(frozen=True)
class PointAssigner:
    """Assigns by location, as FCOS does: the location is the anchor's centre, the unit of distances its side.

    A location belongs to the smallest object that contains it, has its centre nearby, and has its largest distance
    within the range of the location's level. The location nearest to an object's centre always belongs to it.

    Args:
        radius: half the side of the central region, in anchor sides.
        range_low, range_high: bounds of the largest distance, in anchor sides; the finest level has no lower bound,
            the coarsest no upper one.

    Source: Tian et al. 2019, section 3.2, with centre sampling.
    """

    radius: float = 1.5
    range_low: float = 4.0
    range_high: float = 8.0

    def assign(
        self,
        anchors: Float[Tensor, "anchor 4"],
        level_sizes: tuple[int, ...],
        boxes: Float[Tensor, "batch object 4"],
        valid: Bool[Tensor, "batch object"],
    ) -> Assignment:
        side = anchors[:, 2] - anchors[:, 0]
        points = (anchors[:, :2] + anchors[:, 2:]) / 2
        low, high = self.range_low * side, self.range_high * side
        low[: level_sizes[0]] = 0
        high[len(anchors) - level_sizes[-1] :] = torch.inf

        corners = boxes[:, :, None, :]
        distances = torch.cat([points - corners[..., :2], corners[..., 2:] - points], dim=-1)
        offset = ((corners[..., :2] + corners[..., 2:]) / 2 - points).abs().amax(-1)
        farthest = distances.amax(-1)
        inside = distances.amin(-1) > 0
        positive = inside & (offset < self.radius * side) & (farthest > low) & (farthest < high) & valid[..., None]
        sizes = torch.where(positive, area(boxes)[..., None], torch.inf)
        smallest, nearest = sizes.min(dim=1)
        owner = torch.where(torch.isfinite(smallest), nearest, -1)

        # Being inside the object counts most, then the level made for its size, then the distance from its centre.
        half = (boxes[..., 2:] - boxes[..., :2]).amax(-1, keepdim=True) / 2
        fits = (half > low) & (half <= high)
        affinity = 2.0 * inside + 1.0 * fits - offset / (1 + offset)
        best = distinct_best(torch.where(valid[..., None], affinity, -torch.inf), valid)
        return Assignment(
            give_rows(owner, best, valid),
            ~positive.any(dim=1),
            best[..., None],
            valid[..., None],
        )


def give_rows(
    owner: Int64[Tensor, "batch anchor"], best: Int64[Tensor, "batch object"], valid: Bool[Tensor, "batch object"]
) -> Int64[Tensor, "batch anchor"]:
    """Return `owner` with row best[j] assigned to object j, for all valid objects."""
    slots = torch.arange(best.shape[1], device=best.device).expand_as(best)
    # Empty slots write into an extra column, which is cut off again.
    spare = torch.cat([owner, owner[:, :1]], dim=1)
    rows = torch.where(valid, best, owner.shape[1])
    return spare.scatter(1, rows, slots)[:, :-1]
