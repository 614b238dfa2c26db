"""Assignment at least cost, as in YOLOX's training.

Legend: B images, M object slots, A rows (anchors), K classes.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from detinv.detectors.heads.assigners import Assignment
from detinv.layouts.boxes import pairwise_iou
from detinv.layouts.matching import distinct_best

# Added to the cost of rows that are not both inside the object and near its centre.
_APART = 1e5
# Ranks of rows for objects that lost all of theirs: those they could have taken, then any, then those of other objects.
_SPARE, _ANY, _TAKEN = -5e5, -1e6, -2e6
# IoU is never below this in its logarithm, and no logarithm of a probability below that.
_LEAST_IOU, _LEAST_LOG = 1e-8, -100.0


@dataclass(frozen=True)
class SimOTAAssigner:
    """Assigns to an object the rows that could predict it at least cost, as many as its overlaps add up to.

    Rows compete whose cell has its centre inside an object or near its centre. The cost is the cross-entropy of the
    square roots of all scores with the object's class, plus `overlap_cost` times the negative logarithm of the IoU;
    rows that are not both inside the object and near its centre come last. An object takes as many rows as the IoUs of
    its `topk` best add up to, at least one. A row that several objects take stays with the one it costs least. The
    class target of an object's rows is their IoU; the best row itself gets 1.

    Anchors are as large as a cell and centred on the cell's upper left corner; see `around_corner`.

    Args:
        radius: half the side of the region near an object's centre, in cells.
        topk: number of rows whose IoUs are added up.
        overlap_cost: factor of the overlap in the cost.

    Source: Ge et al. 2021, "YOLOX", section 2.1, with the constants of the published code.
    Departures: the best row's target is 1; an object left without a row takes the cheapest that is free.
    """

    radius: float = 2.5
    topk: int = 10
    overlap_cost: float = 3.0

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
        inside, near, offset = self._places(anchors, boxes)
        competes = ((inside | near) & valid[..., None]).any(1, keepdim=True)
        iou = torch.where(competes & valid[..., None], pairwise_iou(boxes, decoded), 0.0)
        cost = _class_cost(log_scores, labels) - self.overlap_cost * iou.clamp(min=_LEAST_IOU).log()
        cost = cost + _APART * ~(inside & near)

        owner = self._choose(cost, iou, competes & valid[..., None])
        slots = torch.arange(boxes.shape[1], device=boxes.device)[:, None]
        mine = owner[:, None] == slots
        spare = torch.where(inside | near, _SPARE - cost, _ANY - offset)
        spare = torch.where((owner >= 0)[:, None], _TAKEN - offset, spare)
        best = distinct_best(torch.where(mine, -cost, spare), valid)
        standing = torch.zeros_like(mine).scatter(2, best[..., None], valid[..., None])
        stands = standing.any(1)
        owner = torch.where(stands, standing.float().argmax(1), owner)
        strength = torch.where(owner[:, None] == slots, iou, 0.0).amax(1)
        return Assignment(owner, owner < 0, best[..., None], valid[..., None], torch.where(stands, 1.0, strength))

    def _places(
        self, anchors: Float[Tensor, "anchor 4"], boxes: Float[Tensor, "batch object 4"]
    ) -> tuple[
        Bool[Tensor, "batch object anchor"], Bool[Tensor, "batch object anchor"], Float[Tensor, "batch object anchor"]
    ]:
        """Return which cells have their centre inside each object, which near its centre, and how far from it."""
        # An anchor's lower right corner is the centre of the cell whose upper left corner the anchor is centred on.
        x, y = anchors[:, 2:].unbind(-1)
        left, top, right, bottom = boxes[..., None].unbind(-2)
        inside = (x > left) & (x < right) & (y > top) & (y < bottom)
        offset = torch.maximum((x - (left + right) / 2).abs(), (y - (top + bottom) / 2).abs())
        return inside, offset < self.radius * (anchors[:, 2] - anchors[:, 0]), offset

    def _choose(
        self,
        cost: Float[Tensor, "batch object anchor"],
        iou: Float[Tensor, "batch object anchor"],
        competes: Bool[Tensor, "batch object anchor"],
    ) -> Int64[Tensor, "batch anchor"]:
        """Return the owner of each row, -1 for rows that no object takes."""
        most = min(self.topk, cost.shape[2])
        counts = iou.topk(most, dim=2).values.sum(2).int().clamp(min=1)
        lowest = torch.where(competes, cost, torch.inf).topk(most, dim=2, largest=False)
        wanted = (torch.arange(most, device=cost.device) < counts[..., None]) & lowest.values.isfinite()
        taken = torch.zeros_like(competes).scatter(2, lowest.indices, wanted)
        cheapest = torch.where(taken, cost, torch.inf).min(1)
        return torch.where(cheapest.values.isfinite(), cheapest.indices, -1)


def _class_cost(
    log_scores: Float[Tensor, "batch anchor class"], labels: Int64[Tensor, "batch object"]
) -> Float[Tensor, "batch object anchor"]:
    """Return the cross-entropy of the square roots of a row's scores with the class of an object.

    Only the object's own class differs between objects, so the others are added up once for each row.
    """
    # In place, as these are the largest tensors of a step.
    rest = (log_scores / 2).exp_().neg_().add_(1).log_().clamp_(min=_LEAST_LOG)
    wanted = labels[:, None].expand(-1, log_scores.shape[1], -1)
    own = (log_scores.gather(2, wanted) / 2).clamp(min=_LEAST_LOG)
    return (rest.gather(2, wanted) - own - rest.sum(2, keepdim=True)).transpose(1, 2)
