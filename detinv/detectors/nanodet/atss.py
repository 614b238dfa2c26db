"""Adaptive training sample selection: the overlaps of an object's nearest anchors say which of them are positive.

Legend: B images, M object slots, A rows (anchors).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from detinv.detectors.heads.assigners import Assignment
from detinv.layouts.boxes import pairwise_iou
from detinv.layouts.matching import distinct_best

# Most rows of an object from which the positive term picks the one with the highest logit.
_CANDIDATES = 16


@dataclass(frozen=True)
class ATSSAssigner:
    """Assigns to an object, of the `topk` rows of each level nearest to its centre, those that overlap it well.

    Well means at least as much as the mean plus the standard deviation of all these rows' IoUs. The centre of the row
    must lie inside the object. A row that several objects claim goes to the one it overlaps most. An object without a
    row takes the nearest one inside it, or else the nearest.

    Args:
        topk: rows of each level.
        anchor_scale: side of the square whose IoU counts, in cells.

    Source: Zhang et al. 2020, "Bridging the Gap Between Anchor-based and Anchor-free Detection", algorithm 1, with
    NanoDet's constants.
    Departures: every object has a row.
    """

    topk: int = 9
    anchor_scale: float = 5.0

    def assign(
        self,
        anchors: Float[Tensor, "anchor 4"],
        level_sizes: tuple[int, ...],
        boxes: Float[Tensor, "batch object 4"],
        valid: Bool[Tensor, "batch object"],
    ) -> Assignment:
        """Assign rows, whose `anchors` are the cells."""
        points, half = (anchors[:, :2] + anchors[:, 2:]) / 2, self.anchor_scale / 2 * (anchors[:, 2:] - anchors[:, :2])
        squares = torch.cat([points - half, points + half], dim=1)
        iou = pairwise_iou(boxes, squares.expand(len(boxes), -1, -1))
        centres = (boxes[..., :2] + boxes[..., 2:]) / 2
        distance = (centres[:, :, None] - points).square().sum(-1).sqrt()
        corners = boxes[:, :, None]
        inside = ((points > corners[..., :2]) & (points < corners[..., 2:])).all(-1)

        rows, start = [], 0
        for level in distance.split(list(level_sizes), dim=2):
            rows.append(level.topk(min(self.topk, level.shape[2]), dim=2, largest=False).indices + start)
            start += level.shape[2]
        near = torch.cat(rows, dim=2)
        overlaps = iou.gather(2, near)
        threshold = overlaps.mean(2, keepdim=True) + overlaps.std(2, keepdim=True)
        positive = torch.zeros_like(inside).scatter(2, near, overlaps >= threshold)
        positive &= inside & valid[..., None]
        highest, owner = torch.where(positive, iou, -1.0).max(1)
        owner = torch.where(highest >= 0, owner, -1)

        slots = torch.arange(boxes.shape[1], device=boxes.device)[:, None]
        mine = owner[:, None] == slots
        # Own rows by their overlap; then rows inside, then others, by their distance.
        spare = -1.0 - distance / (1 + distance) - 2.0 * ~inside
        best = distinct_best(torch.where(mine, iou, spare), valid)
        standing = torch.zeros_like(mine).scatter(2, best[..., None], valid[..., None])
        owner = torch.where(standing.any(1), standing.float().argmax(1), owner)
        affinity = torch.where(owner[:, None] == slots, iou, -1.0)
        affinity = affinity.scatter(2, best[..., None], 2.0)
        value, candidates = affinity.topk(min(_CANDIDATES, len(anchors)), dim=2)
        return Assignment(owner, ~positive.any(1) & (owner < 0), candidates, (value >= 0) & valid[..., None])
