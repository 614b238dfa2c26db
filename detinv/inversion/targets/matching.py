"""The target rule for heads without suppression: objects and rows are matched one to one.

Legend: B images, M object slots, A rows of a head, R rows that are compared, K classes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from detinv.detectors.heads.predictions import DensePredictions
from detinv.inputs.ranges import check_range
from detinv.inputs.torch_settings import sent
from detinv.inversion.targets.base import DenseTargets
from detinv.inversion.targets.shared import class_onehot, is_chosen, slot_of, take, top_rows
from detinv.layouts.batch import LayoutBatch
from detinv.layouts.boxes import area, pairwise_iou

# Higher than any cost: for rows that cannot predict an object's box at all.
_OUT_OF_REACH = 1e4
# Parameters of the focal loss, in the class cost of heads with sigmoids.
_ALPHA, _GAMMA = 0.25, 2.0


@dataclass(frozen=True)
class HungarianRule:
    """Matches objects and rows one to one, at least cost; rows above the threshold without an object are pushed down.

    Without suppression, inference keeps every row above the threshold, so the matching is itself the smallest change
    after which inference gives exactly the layout.

    Args:
        score_thresh: score above which rows without an object are pushed down, in (0, 1).
        class_cost: factor of the negative score, for heads with a softmax over the classes.
        focal_cost: factor of the class cost of heads with sigmoids, which is the focal loss (alpha 0.25, gamma 2) with
            the object's class as target, minus the one without it.
        l1_cost: factor of the L1 distance of (cx, cy, w, h), in units of the image's sides.
        giou_cost: factor of the negative GIoU.
        sticky: discount for the row that an object had before, so that equally good matches do not alternate.
        topk: largest number of rows per level that are compared; at least as many as inference keeps.

    Source: matching in training, of Carion et al. 2020 (equation 1, appendix A.2) and, with sigmoids, of Zhu et al.
    2021 and Zhao et al. 2023; the use as pseudo-targets is ours.
    """

    score_thresh: float = 0.5
    class_cost: float = 1.0
    focal_cost: float = 2.0
    l1_cost: float = 5.0
    giou_cost: float = 2.0
    sticky: float = 0.2
    topk: int = 1000

    def __post_init__(self) -> None:
        check_range(self, "score_thresh", most=1, above=True)
        check_range(self, "class_cost focal_cost l1_cost giou_cost sticky")
        check_range(self, "topk", least=1)

    @torch.no_grad()
    def match(
        self, heads: Sequence[DensePredictions], layouts: LayoutBatch, previous: Sequence[DenseTargets | None]
    ) -> list[DenseTargets]:
        costs = []
        for predictions, before in zip(heads, previous, strict=True):
            cost = self._cost(predictions, layouts)
            if before is not None and before.positive_rows.shape == layouts.labels.shape:
                cost = cost - self.sticky * _held_before(predictions, before)
            costs.append(cost)
        rows = cheapest_rows(costs, layouts.valid)
        return [self._targets(predictions, layouts, best) for predictions, best in zip(heads, rows, strict=True)]

    def _targets(
        self, predictions: DensePredictions, layouts: LayoutBatch, best: Int64[Tensor, "batch object"]
    ) -> DenseTargets:
        head = predictions.head
        chosen = is_chosen(best, layouts.valid, predictions.logits.shape[1])
        rank = predictions.best_log_scores().masked_fill(chosen, torch.inf)
        rows = top_rows(rank, head.level_sizes, self.topk)
        slot = slot_of(rows, best, layouts.valid)
        foreground = slot >= 0
        slot = slot.clamp(min=0)
        quality = None if predictions.quality_logits is None else take(predictions.quality_logits, rows)
        scores = head.scoring.log_scores(take(predictions.logits, rows), quality)
        stray = scores > math.log(self.score_thresh)
        quality_weights = foreground
        if head.scoring.objectness:
            # A stray row is pushed down through its objectness; its class is unconstrained.
            quality_weights = foreground | stray.any(-1)
            stray = torch.zeros_like(stray)
        return DenseTargets(
            rows=rows,
            class_targets=class_onehot(take(layouts.labels, slot), predictions.num_classes, foreground),
            class_weights=(stray | foreground[..., None]).float(),
            box_targets=take(layouts.boxes, slot),
            box_weights=foreground.float(),
            quality_targets=None if quality is None else foreground.float(),
            quality_weights=None if quality is None else quality_weights.float(),
            positive_rows=best,
            positive_labels=layouts.labels,
            positive_weights=layouts.valid.float(),
            positive_identities=None if predictions.identities is None else take(predictions.identities, best),
        )

    def _cost(self, predictions: DensePredictions, layouts: LayoutBatch) -> Float[Tensor, "batch object anchor"]:
        boxes, units = predictions.boxes(), layouts.limits[:, None]
        distance = torch.cdist(_centred(layouts.boxes, units), _centred(boxes, units), p=1)
        overlap = _pairwise_giou(layouts.boxes, boxes)
        cost = self._class_cost(predictions, layouts) + self.l1_cost * distance - self.giou_cost * overlap
        # The loss reports values that are not finite; until then no object takes such a row.
        cost = cost.nan_to_num(_OUT_OF_REACH, _OUT_OF_REACH, _OUT_OF_REACH)
        reachable = predictions.head.codec.expresses(layouts.boxes, predictions.head.anchors)
        return torch.where(reachable, cost, cost + _OUT_OF_REACH)

    def _class_cost(self, predictions: DensePredictions, layouts: LayoutBatch) -> Float[Tensor, "batch object anchor"]:
        scoring, logits = predictions.head.scoring, predictions.logits
        wanted = layouts.labels[:, None].expand(-1, logits.shape[1], -1)
        if scoring.activation == "softmax":
            log_scores = scoring.log_scores(logits, predictions.quality_logits).gather(2, wanted)
            return -self.class_cost * log_scores.exp().transpose(1, 2)
        # Classes are scored independently, so only the wanted ones need to be computed.
        log_scores = scoring.log_scores(logits.gather(2, wanted), predictions.quality_logits).transpose(1, 2)
        scores = log_scores.exp()
        log_rest = torch.log1p(-scores.clamp(max=1 - torch.finfo(scores.dtype).eps))
        as_wanted = -_ALPHA * (1 - scores) ** _GAMMA * log_scores
        as_background = -(1 - _ALPHA) * scores**_GAMMA * log_rest
        return self.focal_cost * (as_wanted - as_background)


def cheapest_rows(
    costs: Sequence[Float[Tensor, "batch object _"]], valid: Bool[Tensor, "batch object"]
) -> list[Int64[Tensor, "batch object"]]:
    """Return a different row for each object, of least total cost, for each head; 0 for slots without an object.

    Only the M cheapest rows of each object are considered, for M slots. That is exact: an object with a row beyond
    those could change to one of them, because the other objects cannot occupy them all. The assignment itself runs on
    the CPU, in float64, which some accelerators do not have.

    Args:
        costs: of each row of a head for each object: finite, less than 2e4.
        valid: slots that hold an object; at most as many as a head has rows.
    """
    cheapest = [cost.float().topk(min(cost.shape[1:]), dim=2, largest=False) for cost in costs]
    # In one tensor, because the host waits for each.
    parts = [part for values, rows in cheapest for part in (values.view(torch.int32), rows.int())]
    packed = torch.cat([*parts, valid[..., None].int()], dim=2).cpu()
    *parts, holds = packed.split([*(part.shape[2] for part in parts), 1], dim=2)
    holds = holds[..., 0] > 0
    found = [
        _assigned(values.view(torch.float32).double(), rows.long(), holds, cost.shape[2])
        for values, rows, cost in zip(parts[::2], parts[1::2], costs, strict=True)
    ]
    return list(sent(torch.stack(found), valid.device))


def _assigned(
    values: Float[Tensor, "batch object candidate"],
    rows: Int64[Tensor, "batch object candidate"],
    holds: Bool[Tensor, "batch object"],
    total: int,
) -> Int64[Tensor, "batch object"]:
    """Assign one of its candidates to each object, on the host."""
    found = torch.zeros(holds.shape, dtype=torch.int64)
    for image, objects in enumerate(holds):
        slots = torch.nonzero(objects)[:, 0]
        candidates, place = rows[image, slots].unique(return_inverse=True)
        table = torch.full((len(slots), len(candidates)), 2 * _OUT_OF_REACH, dtype=torch.float64)
        table.scatter_(1, place, values[image, slots])
        taken, column = linear_sum_assignment(table.numpy())
        assert len(taken) == len(slots), f"{len(slots)} objects for {total} rows"
        found[image, slots[torch.from_numpy(taken)]] = candidates[torch.from_numpy(column)]
    return found


def _held_before(predictions: DensePredictions, previous: DenseTargets) -> Float[Tensor, "batch object anchor"]:
    """Return 1 at the row that each object had, wherever that row is now, and 0 elsewhere."""
    rows = torch.arange(predictions.logits.shape[1], device=predictions.logits.device)[None]
    here = rows if predictions.identities is None else predictions.identities
    had = previous.positive_rows if previous.positive_identities is None else previous.positive_identities
    return (had[..., None] == here[:, None]) * previous.positive_weights[..., None]


def _pairwise_giou(a: Float[Tensor, "batch n 4"], b: Float[Tensor, "batch m 4"]) -> Float[Tensor, "batch n m"]:
    """Return the GIoU of every box of `a` with every box of `b` of the same image.

    Coordinate by coordinate, which takes a third of the time of torchvision's `generalized_box_iou`.
    """
    iou = pairwise_iou(a, b)
    tiny = torch.finfo(iou.dtype).tiny
    # Intersection = IoU * union, and areas = union + intersection.
    union = (area(a)[:, :, None] + area(b)[:, None]) / (1 + iou)
    left, top, right, bottom = a[:, :, None].unbind(-1)
    other_left, other_top, other_right, other_bottom = b[:, None].unbind(-1)
    width = torch.maximum(right, other_right) - torch.minimum(left, other_left)
    height = torch.maximum(bottom, other_bottom) - torch.minimum(top, other_top)
    return iou - 1 + union.clamp(min=tiny) / (width * height).clamp(min=tiny)


def _centred(boxes: Float[Tensor, "batch n 4"], units: Float[Tensor, "batch 1 2"]) -> Float[Tensor, "batch n 4"]:
    """Convert boxes to (cx, cy, w, h) in units of the image's sides."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return torch.cat([(low + high) / 2 / units, (high - low) / units], dim=-1)
