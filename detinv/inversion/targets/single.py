"""The target rule for images of one object: one candidate is driven, everything else is free."""

import math
from dataclasses import dataclass, replace

import torch

from detinv.detectors.heads.assigners import Assignment
from detinv.detectors.heads.predictions import DensePredictions, RoIPredictions
from detinv.errors import ConfigError
from detinv.inversion.targets.base import DenseTargets, ProposalTargets, RoITargets
from detinv.inversion.targets.shared import class_onehot, is_chosen, take
from detinv.layouts.batch import LayoutBatch


@dataclass(frozen=True)
class SingleObjectRule:
    """One fixed candidate for each object has a target; no box, no mask and no other candidate is compared.

    One stage: the row that the head's assigner considers best for the object's box; the term "positive" raises that one
    logit, "objectness" or "centerness" the row's quality. Two stages: the object's own box as region, whose class
    "roi_cls" makes probable; and the anchor that training would give the object first, whose objectness "rpn_cls"
    raises. What the objective gives no weight stays free.

    A candidate that is sure enough has reached its target, and its class weighs nothing. An optimiser whose steps do
    not shrink with the loss would otherwise fill the image with whatever raises the candidate a little further.

    Args:
        enough: probability of the class from which on a candidate asks for no more; 1 for never, as published. A
            one-stage row may stop earlier, at the objective's `positive_cap`.

    Raises:
        ConfigError: when `enough` is no such probability.

    Source: paper, section 4.4; sections G.4 and C.6 of the method. Departures: the row is the one nearest to the box in
    the head's own sense, instead of an index into a grid; see `enough`.
    """

    # A softmax is sure before what stands beside the object is drawn. Of a Faster R-CNN in the world `context`, images
    # made with 0.98 lack half of the planted companions; those made with 1 have some beside objects that need none.
    enough: float = 0.999

    def __post_init__(self) -> None:
        if not 0 < self.enough <= 1:
            raise ConfigError(f"rule.enough={self.enough:g}: choose a probability above 0, at most 1")

    @torch.no_grad()
    def dense(self, predictions: DensePredictions, layouts: LayoutBatch, assignment: Assignment) -> DenseTargets:
        """Each object's row, to be raised; no class or box is compared."""
        rows = assignment.candidates[..., 0]
        # The class alone: how much the quality counts is the objective's business.
        scoring = replace(predictions.head.scoring, class_power=1.0, quality_power=0.0, objectness=False)
        logs = scoring.log_scores(take(predictions.logits, rows), None)
        unsure = logs.gather(2, layouts.labels[..., None])[..., 0] < math.log(self.enough)
        onehot = class_onehot(layouts.labels, predictions.num_classes, layouts.valid)
        quality = None if predictions.quality_logits is None else layouts.valid.float()
        return DenseTargets(
            rows=rows,
            class_targets=onehot,
            class_weights=torch.zeros_like(onehot),
            box_targets=layouts.boxes,
            box_weights=torch.zeros_like(layouts.boxes[..., 0]),
            quality_targets=quality,
            quality_weights=quality,
            positive_rows=rows,
            positive_labels=layouts.labels,
            positive_weights=(layouts.valid & unsure).float(),
        )

    @torch.no_grad()
    def proposals(self, predictions: DensePredictions, layouts: LayoutBatch, assignment: Assignment) -> ProposalTargets:
        """Objectness of the anchor that lies best on each object, and of no other; no regression."""
        anchors = predictions.logits.shape[1]
        chosen = is_chosen(assignment.candidates[..., 0], layouts.valid, anchors)
        unsure = predictions.log_scores()[..., 0] < math.log(self.enough)
        return ProposalTargets(
            objectness_targets=chosen.float(),
            objectness_weights=(chosen & unsure).float(),
            delta_targets=torch.zeros_like(predictions.deltas),
            delta_weights=torch.zeros_like(predictions.deltas[..., 0]),
            normalizer=chosen.sum(1).clamp(min=1).float(),
        )

    @torch.no_grad()
    def roi(self, predictions: RoIPredictions, layouts: LayoutBatch) -> RoITargets:
        """The class of each object at its own box, one of the given regions; no regression, no mask."""
        batch, regions, classes, _ = predictions.deltas.shape
        given = slice(regions - predictions.given, regions)
        labels = torch.full((batch, regions), classes, device=layouts.labels.device)
        labels[:, given] = torch.where(layouts.valid, layouts.labels, classes)
        logs = predictions.logits[:, given].log_softmax(-1).gather(2, layouts.labels[..., None])[..., 0]
        wanted = (layouts.valid & (logs < math.log(self.enough))).float()
        weights = torch.zeros_like(predictions.logits[..., 0])
        weights[:, given] = wanted / layouts.valid.sum(1, keepdim=True).clamp(min=1)
        return RoITargets(
            labels=labels,
            class_weights=weights,
            delta_targets=torch.zeros_like(predictions.rois),
            delta_weights=torch.zeros_like(weights),
            mask_targets=None,
            object_weights=wanted,
            object_labels=layouts.labels,
        )
