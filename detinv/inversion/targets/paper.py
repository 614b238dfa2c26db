"""The target rule of the paper's text: the smallest change after which inference gives exactly the layout."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from detinv.detectors.heads.assigners import Assignment
from detinv.detectors.heads.predictions import DensePredictions, RoIPredictions
from detinv.inputs.ranges import check_range
from detinv.inversion.targets.base import DenseTargets, ProposalTargets, RoITargets
from detinv.inversion.targets.shared import (
    beneath_objects,
    class_onehot,
    is_chosen,
    roi_targets,
    slot_of,
    take,
    top_rows,
)
from detinv.layouts.batch import LayoutBatch
from detinv.layouts.boxes import pairwise_iou
from detinv.layouts.matching import distinct_best


@dataclass(frozen=True)
class PaperRule:
    """Gives each object the candidate whose decoded box fits it best, and pushes down whatever else would survive.

    A candidate of class k above the threshold is covered, and unconstrained, if an object of class k overlaps its box
    by more than the suppression threshold: the object's own candidate, with a score of 1, suppresses it. Candidates
    that are not covered get the target 0 for that class. Inference on the targets therefore gives exactly the layout,
    and need not be run, unless two objects of one class overlap by more than the suppression threshold. In a head that
    keeps local maxima, whatever lies on the slope of an object's row is covered as well, see `beneath_objects`.

    Args:
        score_thresh: threshold of inference, in (0, 1).
        topk: largest number of rows per level that are compared; at least as many as inference keeps.
        proposal_iou_thresh: a proposal whose IoU with every object is below it is pushed down through its objectness.

    Source: paper, section 3.2, figure 3. Departures: candidates are covered as described, because suppressing those
    that inference kept would only expose the next ones. Section 3.3 gives no rule for two stages; this is its
    analogue, in which a proposal counts as surviving when its objectness exceeds `score_thresh`.
    """

    score_thresh: float = 0.5
    topk: int = 1000
    proposal_iou_thresh: float = 0.3

    def __post_init__(self) -> None:
        check_range(self, "score_thresh", most=1, above=True)
        check_range(self, "proposal_iou_thresh", most=1)
        check_range(self, "topk", least=1)

    @torch.no_grad()
    def dense(self, predictions: DensePredictions, layouts: LayoutBatch, assignment: Assignment) -> DenseTargets:
        """Build targets of one row per object, and of zero for survivors that are not covered."""
        scores = predictions.log_scores()
        threshold = math.log(self.score_thresh)
        best = _best_rows(predictions, layouts)
        chosen = is_chosen(best, layouts.valid, scores.shape[1])
        rank = scores.amax(-1).masked_fill(chosen, torch.inf)
        rows = top_rows(rank, predictions.head.level_sizes, self.topk)

        slot = slot_of(rows, best, layouts.valid)
        foreground = slot >= 0
        slot = slot.clamp(min=0)
        iou = pairwise_iou(predictions.boxes(rows), layouts.boxes)
        covered = _covered(iou, layouts, scores.shape[-1], predictions.head.post.suppression)
        if predictions.head.post.peak_kernel is not None:
            everywhere = torch.arange(scores.shape[1], device=scores.device).expand(len(scores), -1)
            owner = slot_of(everywhere, best, layouts.valid)
            covered = covered | take(beneath_objects(predictions, layouts, owner), rows)
        uncovered = (take(scores, rows) > threshold) & ~covered
        quality_weights = foreground
        if predictions.head.scoring.objectness:
            # A row that represents an object must not be pushed down because of its score for another class.
            quality_weights = foreground | uncovered.any(-1)
            uncovered = torch.zeros_like(uncovered)
        box_targets = take(layouts.boxes, slot)
        return DenseTargets(
            rows=rows,
            class_targets=class_onehot(take(layouts.labels, slot), scores.shape[-1], foreground),
            class_weights=(uncovered | foreground[..., None]).float(),
            box_targets=box_targets,
            box_weights=foreground.float(),
            quality_targets=foreground.to(box_targets.dtype),
            quality_weights=quality_weights.float(),
            positive_rows=best,
            positive_labels=layouts.labels,
            positive_weights=layouts.valid.float(),
        )

    @torch.no_grad()
    def proposals(self, predictions: DensePredictions, layouts: LayoutBatch, assignment: Assignment) -> ProposalTargets:
        """Build targets so that the best decoded anchor proposes each object, and none far from all objects does."""
        boxes = predictions.boxes()
        best = _best_rows(predictions, layouts)
        chosen = is_chosen(best, layouts.valid, boxes.shape[1])
        iou = pairwise_iou(boxes, layouts.boxes).masked_fill(~layouts.valid[:, None], -1).amax(-1)
        scores = predictions.log_scores()[..., 0]
        threshold = math.log(self.score_thresh)
        stray = (scores > threshold) & (iou < self.proposal_iou_thresh) & ~chosen
        rows = torch.arange(boxes.shape[1], device=boxes.device).expand(len(boxes), -1)
        slot = slot_of(rows, best, layouts.valid).clamp(min=0)
        deltas = predictions.head.codec.encode(
            take(layouts.boxes, slot), predictions.head.anchors.expand(len(boxes), -1, -1)
        )
        return ProposalTargets(
            objectness_targets=chosen.float(),
            objectness_weights=(chosen | stray).float(),
            delta_targets=torch.where(chosen[..., None], deltas, 0.0),
            delta_weights=chosen.float(),
            normalizer=(chosen | stray).sum(1).clamp(min=1).float(),
        )

    @torch.no_grad()
    def roi(self, predictions: RoIPredictions, layouts: LayoutBatch) -> RoITargets:
        """Build targets of class and box for each object's best region, and of background for stray survivors."""
        batch, regions, num_classes, _ = predictions.deltas.shape
        decoded = predictions.codec.decode(
            predictions.deltas, predictions.rois[:, :, None].expand_as(predictions.deltas)
        )
        # (B, M, P, 4): the box that each region would report for each object's class.
        wanted = decoded.gather(2, layouts.labels[:, None, :, None].expand(-1, regions, -1, 4)).transpose(1, 2)
        iou = pairwise_iou(layouts.boxes[:, :, None], wanted)[:, :, 0]
        iou = iou.masked_fill(~predictions.valid[:, None], -1)
        best = distinct_best(iou, layouts.valid)
        everywhere = torch.arange(regions, device=iou.device).expand(batch, -1)
        slot = slot_of(everywhere, best, layouts.valid)
        foreground = slot >= 0
        slot = slot.clamp(min=0)

        scores = predictions.logits.softmax(-1)[..., :num_classes]
        flat = pairwise_iou(decoded.reshape(batch, -1, 4), layouts.boxes).view(batch, regions, num_classes, -1)
        same = class_onehot(layouts.labels, num_classes, layouts.valid).bool().transpose(1, 2)
        covered = ((flat > predictions.post.suppression) & same[:, None]).any(-1)
        stray = ((scores > self.score_thresh) & ~covered).any(-1) & predictions.valid & ~foreground
        weights = (foreground | stray).float()
        return roi_targets(predictions, layouts, slot, foreground, weights)


def _best_rows(predictions: DensePredictions, layouts: LayoutBatch) -> Int64[Tensor, "batch object"]:
    """Return a different row for each object: the one that overlaps it most, of those that can predict its box."""
    head = predictions.head
    iou = pairwise_iou(layouts.boxes, predictions.boxes())
    return distinct_best(torch.where(head.codec.expresses(layouts.boxes, head.anchors), iou, iou - 2), layouts.valid)


def _covered(
    iou: Float[Tensor, "batch row object"], layouts: LayoutBatch, num_classes: int, nms_thresh: float
) -> Bool[Tensor, "batch row class"]:
    """Return which pairs of row and class an object of that class suppresses."""
    over = (iou > nms_thresh) & layouts.valid[:, None]
    same = class_onehot(layouts.labels, num_classes, layouts.valid)
    return (over.float() @ same) > 0
