"""The target rule of the published code, with its defects fixed."""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from detinv.detectors.heads.assigners import Assignment
from detinv.detectors.heads.predictions import DensePredictions, RoIPredictions
from detinv.inputs.ranges import check_range
from detinv.inversion.targets.base import DenseTargets, ProposalTargets, RoITargets
from detinv.inversion.targets.shared import (
    beneath_objects,
    best_candidates,
    centerness,
    class_onehot,
    roi_targets,
    take,
    top_rows,
)
from detinv.layouts.batch import LayoutBatch
from detinv.layouts.boxes import pairwise_iou


@dataclass(frozen=True)
class CodeRule:
    """Uses the labels of training as targets, and also constrains whatever would pass the threshold.

    One stage: rows that training assigns to an object get its class and box. Of the others, those whose score exceeds
    `score_thresh` get class and box of the object that they overlap by `match_iou_thresh`, or background.
    In a head that keeps local maxima, rows on the slope of an object's row need not report anything else, see
    `beneath_objects`; and where there is no other suppression, a second row of an object is background, too.
    Two stages: proposals and regions are labelled as in training, but weighted instead of sampled.

    Args:
        score_thresh: score above which unassigned rows are compared, in (0, 1).
        boxes_by_odds: whether the box of an unassigned row, or of a region, counts by the odds of its score, relative
            to those of its object's most certain one: what suppression removes anyway need not be exact. As published,
            all count alike.
        match_iou_thresh: IoU of decoded box and object from which such a row belongs to the object.
        topk: largest number of rows per level that are compared.
        topk_per_object: the same for each object slot of a layout, where that is more: around a crowd more rows exceed
            the threshold, and those that are not compared stay.
        proposals_per_image, proposals_foreground: size and largest positive share of the sample that weights emulate.
        rois_per_image, rois_foreground: the same for the second stage.

    Source: published code, `get_pseudo_label` and the labels of the region heads. Departures: top-k per level; one
    entry per row, not per pair of row and class; every object has a row; nothing is sampled at random, but positives
    and negatives are weighted to the totals that sampling would give.
    """

    score_thresh: float = 0.5
    match_iou_thresh: float = 0.5
    topk: int = 300
    topk_per_object: int = 0
    boxes_by_odds: bool = False
    proposals_per_image: int = 256
    proposals_foreground: float = 0.5
    rois_per_image: int = 512
    rois_foreground: float = 0.25

    def __post_init__(self) -> None:
        check_range(self, "score_thresh", most=1, above=True)
        check_range(self, "match_iou_thresh proposals_foreground rois_foreground", most=1)
        check_range(self, "topk_per_object")
        check_range(self, "topk proposals_per_image rois_per_image", least=1)

    @torch.no_grad()
    def dense(self, predictions: DensePredictions, layouts: LayoutBatch, assignment: Assignment) -> DenseTargets:
        """Build targets for the assigned rows of a one-stage head, and for others above the threshold."""
        scores = predictions.best_log_scores()
        owned = assignment.owner >= 0
        threshold = math.log(self.score_thresh)
        rank = scores.masked_fill(owned, torch.inf)
        topk = max(self.topk, self.topk_per_object * layouts.valid.shape[1])
        rows = top_rows(rank, predictions.head.level_sizes, topk)
        live = take(rank, rows) > threshold
        owner = take(assignment.owner, rows)
        class_weights = live[..., None].float().expand(-1, -1, predictions.num_classes)
        post = predictions.head.post
        if post.peak_kernel is not None:
            beneath = take(beneath_objects(predictions, layouts, assignment.owner, assignment.strength), rows)
            class_weights = class_weights.masked_fill(beneath & (owner < 0)[..., None], 0)

        iou = pairwise_iou(predictions.boxes(rows), layouts.boxes).masked_fill(~layouts.valid[:, None], -1)
        highest, nearest = iou.max(-1)
        matched = owner
        if post.nms_thresh is not None:
            matched = torch.where(live & (highest >= self.match_iou_thresh), nearest, -1)
            matched = torch.where(owner >= 0, owner, matched)
        foreground = matched >= 0
        slot = matched.clamp(min=0)
        box_targets = take(layouts.boxes, slot)
        positive_rows = best_candidates(predictions, layouts, assignment)
        box_weights = foreground.float()
        if self.boxes_by_odds:
            odds = _relative_odds(take(scores, rows), slot, foreground, layouts.valid.shape[1])
            box_weights = torch.where(owner >= 0, box_weights, box_weights * odds)

        quality_targets = quality_weights = None
        if predictions.quality_logits is not None:
            # Centre-ness was never trained outside the training region, so only assigned rows compare it. The row
            # that represents the object's centre should be certain.
            quality = centerness(predictions.head.anchors[rows], box_targets)
            central = (rows[:, :, None] == positive_rows[:, None]) & layouts.valid[:, None]
            quality_targets = torch.where(central.any(-1), 1.0, quality)
            quality_weights = (owner >= 0).float()
            if predictions.head.scoring.objectness:
                # Objectness says whether there is an object, however far the row is from its centre.
                quality_targets, quality_weights = foreground.to(quality.dtype), live.float()
        class_targets = class_onehot(take(layouts.labels, slot), predictions.num_classes, foreground)
        if assignment.strength is not None:
            class_targets = class_targets * torch.where(owner >= 0, take(assignment.strength, rows), 1.0)[..., None]
        return DenseTargets(
            rows=rows,
            class_targets=class_targets,
            class_weights=class_weights,
            box_targets=box_targets,
            box_weights=box_weights,
            quality_targets=quality_targets,
            quality_weights=quality_weights,
            positive_rows=positive_rows,
            positive_labels=layouts.labels,
            positive_weights=layouts.valid.float(),
        )

    @torch.no_grad()
    def proposals(self, predictions: DensePredictions, layouts: LayoutBatch, assignment: Assignment) -> ProposalTargets:
        """Build the training labels of a region proposal network, which depend on anchors and layout only."""
        foreground = assignment.owner >= 0
        weights = _sampling_weights(
            foreground, assignment.background, self.proposals_per_image, self.proposals_foreground
        )
        boxes = take(layouts.boxes, assignment.owner.clamp(min=0))
        deltas = predictions.head.codec.encode(boxes, predictions.head.anchors.expand_as(boxes))
        return ProposalTargets(
            objectness_targets=foreground.float(),
            objectness_weights=weights,
            delta_targets=torch.where(foreground[..., None], deltas, 0.0),
            delta_weights=weights * foreground,
            normalizer=torch.full_like(weights[:, 0], self.proposals_per_image),
        )

    @torch.no_grad()
    def roi(self, predictions: RoIPredictions, layouts: LayoutBatch) -> RoITargets:
        """Build the training labels of the regions: an object's class from `match_iou_thresh` on, else background."""
        iou = pairwise_iou(predictions.rois, layouts.boxes).masked_fill(~layouts.valid[:, None], -1)
        highest, nearest = iou.max(-1)
        foreground = (highest >= self.match_iou_thresh) & predictions.valid
        background = ~foreground & predictions.valid
        weights = _sampling_weights(foreground, background, self.rois_per_image, self.rois_foreground)
        targets = roi_targets(predictions, layouts, nearest, foreground, weights)
        if self.boxes_by_odds:
            slot = nearest.clamp(min=0)
            wanted = take(layouts.labels, slot)[..., None]
            scores = predictions.logits.log_softmax(-1).gather(2, wanted)[..., 0]
            odds = _relative_odds(scores, slot, foreground, layouts.valid.shape[1])
            targets = replace(targets, delta_weights=targets.delta_weights * odds)
        return targets


def _relative_odds(
    log_scores: Float[Tensor, "batch row"],
    slot: Int64[Tensor, "batch row"],
    foreground: Bool[Tensor, "batch row"],
    objects: int,
) -> Float[Tensor, "batch row"]:
    """Return the odds of each row's score over those of the most certain row of its object, in [0, 1].

    Args:
        log_scores: log of scores in (0, 1).
        slot: object of each row, where `foreground` says that it has one.
        objects: slots.
    """
    # A score of 1 has no odds.
    log_scores = log_scores.clamp(max=-1e-6)
    odds = (log_scores - torch.log(-torch.expm1(log_scores))).masked_fill(~foreground, -torch.inf)
    best = odds.new_full((len(odds), objects), -torch.inf).scatter_reduce(1, slot, odds, "amax")
    return torch.exp(odds - best.gather(1, slot)).masked_fill(~foreground, 0)


def _sampling_weights(foreground: Tensor, background: Tensor, total: int, foreground_share: float) -> Tensor:
    """Return a weight for each row, so that positives and negatives count as in a random sample of `total` rows.

    A sample has at most total * share positives; negatives make up the rest, as far as there are any.
    """
    count_fg = foreground.sum(1, keepdim=True).float()
    count_bg = background.sum(1, keepdim=True).float()
    sampled_fg = count_fg.clamp(max=int(total * foreground_share))
    sampled_bg = torch.minimum(total - sampled_fg, count_bg)
    return foreground * (sampled_fg / count_fg.clamp(min=1)) + background * (sampled_bg / count_bg.clamp(min=1))
