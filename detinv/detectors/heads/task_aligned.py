"""Assignment by how well class and box agree, as in YOLO's training.

Legend: B images, M object slots, A rows (anchors).
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from detinv.detectors.heads.assigners import Assignment
from detinv.layouts.boxes import pairwise_iou
from detinv.layouts.matching import distinct_best

# Ranks are logarithms of the metric. Rows whose boxes do not overlap the object rank below those; and for objects
# without a row, rows that could predict its box rank next, before rows that could not.
_NO_OVERLAP, _ABLE, _UNABLE = -300.0, -400.0, -500.0
_SMALLEST_OVERLAP = 1e-12


@dataclass(frozen=True)
class TaskAlignedAssigner:
    """Assigns to an object the rows inside it with the best metric s ** 0.5 * CIoU ** 6, with class score s.

    A row chosen by several objects goes to the one, of all that contain it, whose box it overlaps most. The target of
    an object's rows is the metric, scaled so that its maximum is the highest CIoU among them; the best row itself gets
    1. An object left without a row takes the one that comes closest to predicting its box.

    Args:
        reach: largest distance from a row's point to a side of a box that the row can predict, in sides of the anchor.
        topk: number of rows that an object chooses.
        score_power, overlap_power: exponents of the metric.

    Source: Feng et al. 2021, "TOOD", section 3.2, with the CIoU of Zheng et al. 2020 and YOLOv8's constants.
    Departures: the best row's target is 1; rows out of reach are not chosen; every object has a row; a box that
    contains no point is not enlarged, but takes the nearest row.
    """

    reach: float = math.inf
    topk: int = 10
    score_power: float = 0.5
    overlap_power: float = 6.0

    @torch.no_grad()
    def assign_predicted(
        self,
        anchors: Float[Tensor, "anchor 4"],
        level_sizes: tuple[int, ...],
        boxes: Float[Tensor, "batch object 4"],
        labels: Int64[Tensor, "batch object"],
        valid: Bool[Tensor, "batch object"],
        log_scores: Float[Tensor, "batch anchor class"],
        decoded: Float[Tensor, "batch anchor 4"],
    ) -> Assignment:
        shortfall, offset = self._distances(anchors, boxes)
        eligible = (shortfall <= 0) & valid[..., None]
        overlap = torch.where(eligible, pairwise_complete_iou(boxes, decoded), -torch.inf)
        scores = log_scores.gather(2, labels[:, None].expand(-1, len(anchors), -1)).transpose(1, 2)
        metric = self.score_power * scores + self.overlap_power * overlap.clamp(min=_SMALLEST_OVERLAP).log()
        rank = torch.where(overlap > 0, metric.clamp(min=_NO_OVERLAP), _NO_OVERLAP + overlap)

        owner = self._choose(rank, overlap)
        slots = torch.arange(boxes.shape[1], device=boxes.device)[:, None]
        unable = _UNABLE - torch.log1p(shortfall.clamp(min=0))
        need = torch.where(shortfall <= 0, _ABLE - torch.log1p(offset), unable)
        best = distinct_best(torch.where(owner[:, None] == slots, rank, need), valid)
        standing = torch.zeros_like(eligible).scatter(2, best[..., None], valid[..., None])
        stands = standing.any(1)
        owner = torch.where(stands, standing.float().argmax(1), owner)
        strength = _strength(rank, overlap, owner[:, None] == slots)
        return Assignment(owner, owner < 0, best[..., None], valid[..., None], torch.where(stands, 1.0, strength))

    def _distances(
        self, anchors: Float[Tensor, "anchor 4"], boxes: Float[Tensor, "batch object 4"]
    ) -> tuple[Float[Tensor, "batch object anchor"], Float[Tensor, "batch object anchor"]]:
        """Return two distances in pixels: from being able to predict each box, and from the box's centre.

        The first is at most zero where the point can predict the box: strictly inside, with no side beyond reach.
        """
        x, y = ((anchors[:, :2] + anchors[:, 2:]) / 2).unbind(-1)
        left, top, right, bottom = boxes[..., None].unbind(-2)
        to_x = torch.maximum(left - x, x - right)
        to_y = torch.maximum(top - y, y - bottom)
        outside = torch.maximum(to_x, to_y)
        farthest = torch.maximum(torch.maximum(x - left, right - x), torch.maximum(y - top, bottom - y))
        beyond = farthest - self.reach * (anchors[:, 2] - anchors[:, 0])
        # A point on the border is not inside.
        shortfall = torch.maximum(torch.where(outside == 0, torch.finfo(x.dtype).tiny, outside), beyond)
        offset = torch.maximum((x - (left + right) / 2).abs(), (y - (top + bottom) / 2).abs())
        return shortfall, offset

    def _choose(
        self, rank: Float[Tensor, "batch object anchor"], overlap: Float[Tensor, "batch object anchor"]
    ) -> Int64[Tensor, "batch anchor"]:
        """Return the owner of each row, -1 for rows that no object chooses."""
        values, rows = rank.topk(min(self.topk, rank.shape[2]), dim=2)
        chosen = torch.zeros_like(rank, dtype=torch.bool).scatter(2, rows, values > -torch.inf)
        choosers = chosen.sum(1)
        owner = torch.where(choosers > 1, overlap.argmax(1), chosen.float().argmax(1))
        return torch.where(choosers > 0, owner, -1)


def _strength(
    rank: Float[Tensor, "batch object anchor"],
    overlap: Float[Tensor, "batch object anchor"],
    mine: Bool[Tensor, "batch object anchor"],
) -> Float[Tensor, "batch anchor"]:
    """Return each row's metric for its owner, scaled so that the owner's maximum is its highest overlap; in [0, 1]."""
    metric = torch.where(mine & (overlap > 0), rank, -torch.inf)
    highest = torch.where(mine, overlap, 0.0).clamp(min=0).amax(2, keepdim=True)
    scaled = torch.exp(metric - metric.amax(2, keepdim=True).clamp(min=_NO_OVERLAP)) * highest
    return scaled.amax(1)


def pairwise_complete_iou(
    a: Float[Tensor, "*batch n 4"], b: Float[Tensor, "*batch m 4"]
) -> Float[Tensor, "*batch n m"]:
    """Return the CIoU of every box of `a` with every box of `b`: IoU minus penalties for distance and aspect ratio.

    At most 1. torchvision's `complete_box_iou` takes no batches, and has another epsilon.

    Source: Zheng et al. 2020, "Distance-IoU Loss", equations 7 to 11.
    """
    tiny = torch.finfo(a.dtype).eps
    iou = pairwise_iou(a, b)
    low = [torch.minimum(a[..., :, None, axis], b[..., None, :, axis]) for axis in (0, 1)]
    high = [torch.maximum(a[..., :, None, axis], b[..., None, :, axis]) for axis in (2, 3)]
    diagonal = sum((far - near).square() for near, far in zip(low, high, strict=True))
    ca, cb = a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:]
    apart = sum((ca[..., :, None, axis] - cb[..., None, :, axis]).square() for axis in (0, 1)) / 4
    shape = 4 / math.pi**2 * (_slant(a)[..., :, None] - _slant(b)[..., None, :]).square()
    share = shape / (1 - iou + shape + tiny)
    return iou - apart / (diagonal + tiny) - share * shape


def _slant(boxes: Float[Tensor, "*rows 4"]) -> Float[Tensor, "*rows"]:
    """Return the angle of the diagonal: the arc tangent of width over height."""
    sides = (boxes[..., 2:] - boxes[..., :2]).clamp(min=torch.finfo(boxes.dtype).eps)
    return torch.atan2(sides[..., 0], sides[..., 1])
