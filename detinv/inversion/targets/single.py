"""The target rule for images of one object: one candidate is optimised, everything else is unconstrained."""

import math
from dataclasses import dataclass

import torch

from detinv.detectors.heads.assigners import Assignment
from detinv.detectors.heads.predictions import DensePredictions, RoIPredictions
from detinv.detectors.rows import TargetRows, row_outputs
from detinv.errors import ConfigError
from detinv.inversion.targets.base import DenseTargets, ProposalTargets, RoITargets
from detinv.inversion.targets.shared import class_onehot, is_chosen
from detinv.layouts.batch import LayoutBatch


@dataclass(frozen=True)
class SingleObjectRule:
    """Gives one fixed candidate of each object a target; boxes, masks and all other candidates are not compared.

    One stage: the candidate is the row that the head's assigner considers best for the object's box. The term
    "positive" raises its class logit, "objectness" or "centerness" its quality. Two stages: the candidate is the
    object's own box as region, whose class "roi_cls" makes probable, together with the anchor to which training would
    assign the object first, whose objectness "rpn_cls" raises. Terms without a weight in the objective have no effect.

    A candidate that is certain enough has reached its target, and its class is no longer compared. Otherwise an
    optimiser whose steps do not shrink with the loss would fill the image with whatever raises the candidate further.

    Args:
        enough: class probability from which a candidate is no longer raised; 1 for never, as published. A one-stage
            row may stop earlier, at the objective's `positive_cap`.

    Raises:
        ConfigError: when `enough` is not in (0, 1].

    Source: paper, section 4.4; sections G.4 and C.6 of the method. Departures: the row is the one nearest to the box in
    the head's own sense, instead of an index into a grid; see `enough`.
    """

    # A softmax is certain before the surroundings of the object are drawn. In images made with 0.98 for a Faster R-CNN
    # of the world `context`, half of the planted companions are missing; with 1 there are some next to objects that
    # need none.
    enough: float = 0.999

    def __post_init__(self) -> None:
        if not 0 < self.enough <= 1:
            raise ConfigError(f"rule.enough={self.enough:g}: choose a probability above 0, at most 1")

    @torch.no_grad()
    def dense(self, predictions: DensePredictions, layouts: LayoutBatch, assignment: Assignment) -> DenseTargets:
        """Build targets that raise each object's row; no class or box is compared."""
        rows = assignment.candidates[..., 0]
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
            positive_weights=(layouts.valid & self._unsure(predictions, rows, layouts.labels)).float(),
        )

    @torch.no_grad()
    def proposals(self, predictions: DensePredictions, layouts: LayoutBatch, assignment: Assignment) -> ProposalTargets:
        """Build targets for the objectness of each object's best anchor, and of no other; nothing is regressed."""
        rows, anchors = assignment.candidates[..., 0], predictions.logits.shape[1]
        chosen = is_chosen(rows, layouts.valid, anchors)
        unsure = layouts.valid & self._unsure(predictions, rows, torch.zeros_like(rows))
        return ProposalTargets(
            objectness_targets=chosen.float(),
            objectness_weights=is_chosen(rows, unsure, anchors).float(),
            delta_targets=torch.zeros_like(predictions.deltas),
            delta_weights=torch.zeros_like(predictions.deltas[..., 0]),
            normalizer=chosen.sum(1).clamp(min=1).float(),
        )

    @torch.no_grad()
    def roi(self, predictions: RoIPredictions, layouts: LayoutBatch) -> RoITargets:
        """Build targets for the class of each object at its own box, a given region; no regression, no mask."""
        batch, regions, classes, _ = predictions.deltas.shape
        given = slice(regions - predictions.given, regions)
        labels = torch.full((batch, regions), classes, device=layouts.labels.device)
        labels[:, given] = torch.where(layouts.valid, layouts.labels, classes)
        slots = torch.arange(predictions.given, device=layouts.labels.device).expand_as(layouts.labels)
        wanted = (layouts.valid & self._unsure(predictions, slots, layouts.labels)).float()
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

    def _unsure(
        self, stage: DensePredictions | RoIPredictions, rows: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        """Return whether the class probability at each candidate is below `enough`, whatever its quality."""
        target = TargetRows.of_batch(rows, labels, given=isinstance(stage, RoIPredictions))
        return row_outputs(stage, target).log_probability(labels) < math.log(self.enough)
