"""The target rule for heads without suppression: objects and rows are matched one to one."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from detinv.detectors.predictions import DensePredictions
from detinv.inversion.targets.base import DenseTargets
from detinv.inversion.targets.shared import class_onehot, is_chosen, slot_of, take, top_rows
from detinv.layouts.batch import LayoutBatch
from detinv.layouts.boxes import generalized_iou

# Beyond every cost: rows that could not give an object's box at all.
_OUT_OF_REACH = 1e4


@dataclass(frozen=True)
class HungarianRule:
    """The cheapest one-to-one matching; matched rows take class and box, other survivors become background.

    Where nothing is suppressed, f keeps every row above the threshold, so the matching is the smallest change itself:
    f(Z) is exactly the layout.

    Args:
        score_thresh: rows above it that belong to no object are pushed down; in (0, 1).
        class_cost, l1_cost, giou_cost: factors of - score, of the L1 distance of (cx, cy, w, h) in units of the image's
            sides, and of - GIoU.
        sticky: taken off the cost of the row an object had before, so that matches of equal worth do not flap.
        topk: most rows per level that take part; f's own top-k or more.

    Source: Carion et al. 2020, equation 1 and appendix A.2, for matching in training; the use as pseudo-targets is
    ours.
    """

    score_thresh: float = 0.5
    class_cost: float = 1.0
    l1_cost: float = 5.0
    giou_cost: float = 2.0
    sticky: float = 0.2
    topk: int = 1000

    @torch.no_grad()
    def match(
        self, predictions: DensePredictions, layouts: LayoutBatch, previous: DenseTargets | None
    ) -> DenseTargets:
        log_scores = predictions.log_scores()
        cost = self._cost(predictions, log_scores, layouts)
        if previous is not None:
            had = previous.positive_rows[..., None]
            cost = cost.scatter(2, had, cost.gather(2, had) - self.sticky)
        best = cheapest_rows(cost, layouts)
        chosen = is_chosen(best, layouts.valid, log_scores.shape[1])
        rank = log_scores.amax(-1).masked_fill(chosen, torch.inf)
        rows = top_rows(rank, predictions.head.level_sizes, self.topk)
        slot = slot_of(rows, best, layouts.valid)
        foreground = slot >= 0
        slot = slot.clamp(min=0)
        stray = take(log_scores, rows) > math.log(self.score_thresh)
        return DenseTargets(
            rows=rows,
            class_targets=class_onehot(take(layouts.labels, slot), predictions.num_classes, foreground),
            class_weights=(stray | foreground[..., None]).float(),
            box_targets=take(layouts.boxes, slot),
            box_weights=foreground.float(),
            quality_targets=None,
            quality_weights=None,
            positive_rows=best,
            positive_labels=layouts.labels,
            positive_weights=layouts.valid.float(),
        )

    def _cost(
        self, predictions: DensePredictions, log_scores: Float[Tensor, "batch anchor class"], layouts: LayoutBatch
    ) -> Float[Tensor, "batch object anchor"]:
        boxes = predictions.boxes()
        wanted = layouts.labels[:, None].expand(-1, log_scores.shape[1], -1)
        scores = log_scores.gather(2, wanted).exp().transpose(1, 2)
        units = layouts.limits[:, None]
        distance = torch.cdist(_centred(layouts.boxes, units), _centred(boxes, units), p=1)
        rows, objects = boxes.shape[1], layouts.boxes.shape[1]
        overlap = generalized_iou(
            layouts.boxes[:, :, None].expand(-1, -1, rows, -1), boxes[:, None].expand(-1, objects, -1, -1)
        )
        cost = self.l1_cost * distance - self.class_cost * scores - self.giou_cost * overlap
        reachable = predictions.head.codec.expresses(layouts.boxes, predictions.head.anchors)
        return torch.where(reachable, cost, cost + _OUT_OF_REACH)


def cheapest_rows(
    cost: Float[Tensor, "batch object anchor"], layouts: LayoutBatch
) -> Int64[Tensor, "batch object"]:
    """One row for each object, none twice, of least total cost; 0 for slots without an object.

    Only as many rows of each object are looked at as there are objects: with fewer, others could take them all; more
    are never needed. The assignment itself runs on the host.
    """
    count = min(cost.shape[1], cost.shape[2])
    values, rows = cost.topk(count, dim=2, largest=False)
    host_values, host_rows = values.double().cpu().numpy(), rows.cpu()
    found = torch.zeros(cost.shape[:2], dtype=torch.int64)
    for image, valid in enumerate(layouts.valid.cpu()):
        slots = torch.nonzero(valid)[:, 0]
        candidates, place = host_rows[image, slots].unique(return_inverse=True)
        table = torch.full((len(slots), len(candidates)), 2 * _OUT_OF_REACH, dtype=torch.float64)
        table.scatter_(1, place, torch.from_numpy(host_values[image])[slots])
        taken, column = linear_sum_assignment(table.numpy())
        found[image, slots[torch.from_numpy(taken)]] = candidates[torch.from_numpy(column)]
    return found.to(cost.device)


def _centred(boxes: Float[Tensor, "batch n 4"], units: Float[Tensor, "batch 1 2"]) -> Float[Tensor, "batch n 4"]:
    """(cx, cy, w, h) in units of the image's sides."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return torch.cat([(low + high) / 2 / units, (high - low) / units], dim=-1)
