"""What a loss compares raw predictions with, and the signature of a rule that builds it.

Legend: B images, A rows of a dense head, R chosen rows, K classes, M object slots, P regions of interest.
A weight of zero means that Z equals the current output there: no loss, no gradient.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int64
from torch import Tensor

from detinv.detectors.heads.assigners import Assignment
from detinv.detectors.heads.predictions import DensePredictions, RoIPredictions
from detinv.layouts.batch import LayoutBatch


@dataclass(frozen=True)
class DenseTargets:
    """For a one-stage head.

    Args:
        rows: the rows that take part; all others are free.
        class_targets: 1 for the wanted class, 0 otherwise.
        class_weights: 1 where the class score is compared with its target.
        box_targets: XYXY, meaningful where `box_weights` is 1.
        box_weights: 1 for rows that stand for an object.
        quality_targets, quality_weights: the same for the centre-ness; None where the head has none.
        positive_rows: the row of each object whose logit the positive term raises.
        positive_labels: its class.
        positive_weights: 1 for slots that hold an object.
        positive_identities: what that row is, see `DensePredictions`; None where its place says it.
    """

    rows: Int64[Tensor, "batch row"]
    class_targets: Float[Tensor, "batch row class"]
    class_weights: Float[Tensor, "batch row class"]
    box_targets: Float[Tensor, "batch row 4"]
    box_weights: Float[Tensor, "batch row"]
    quality_targets: Float[Tensor, "batch row"] | None
    quality_weights: Float[Tensor, "batch row"] | None
    positive_rows: Int64[Tensor, "batch object"]
    positive_labels: Int64[Tensor, "batch object"]
    positive_weights: Float[Tensor, "batch object"]
    positive_identities: Int64[Tensor, "batch object"] | None = None


@dataclass(frozen=True)
class ProposalTargets:
    """For a region proposal network.

    Args:
        objectness_targets: 1 for rows that shall propose an object.
        objectness_weights: how much each row counts; their sum is the number of rows compared.
        delta_targets: in the head's own code, meaningful where `delta_weights` is not 0.
        delta_weights: how much each row's regression counts.
        normalizer: what the sums over the rows of each image are divided by.
    """

    objectness_targets: Float[Tensor, "batch anchor"]
    objectness_weights: Float[Tensor, "batch anchor"]
    delta_targets: Float[Tensor, "batch anchor 4"]
    delta_weights: Float[Tensor, "batch anchor"]
    normalizer: Float[Tensor, " batch"]


@dataclass(frozen=True)
class RoITargets:
    """For the second stage.

    Args:
        labels: wanted class of each region, K for background.
        class_weights: how much each region's classification counts.
        delta_targets: in the head's own code, for the wanted class.
        delta_weights: how much each region's regression counts.
        mask_targets: in [0, 1], each object's mask cropped to its box at the mask head's resolution.
        object_weights: 1 for slots that hold an object; the given boxes are the last M regions.
        object_labels: the class of each slot.
    """

    labels: Int64[Tensor, "batch roi"]
    class_weights: Float[Tensor, "batch roi"]
    delta_targets: Float[Tensor, "batch roi 4"]
    delta_weights: Float[Tensor, "batch roi"]
    mask_targets: Float[Tensor, "batch object side side"] | None
    object_weights: Float[Tensor, "batch object"]
    object_labels: Int64[Tensor, "batch object"]


@dataclass(frozen=True)
class Targets:
    """Pseudo-targets for all heads of a detector.

    `dense` for one stage, with `encoder` for transformers that choose their queries; the other two for two stages.
    """

    dense: DenseTargets | None = None
    encoder: DenseTargets | None = None
    proposals: ProposalTargets | None = None
    roi: RoITargets | None = None


@runtime_checkable
class TargetRule(Protocol):
    """How pseudo-targets are built from detached predictions; every method is pure and runs without gradient."""

    def dense(self, predictions: DensePredictions, layouts: LayoutBatch, assignment: Assignment) -> DenseTargets:
        """For a one-stage head."""
        ...

    def proposals(self, predictions: DensePredictions, layouts: LayoutBatch, assignment: Assignment) -> ProposalTargets:
        """For a proposal head."""
        ...

    def roi(self, predictions: RoIPredictions, layouts: LayoutBatch) -> RoITargets:
        """For a second stage."""
        ...


@runtime_checkable
class MatchingRule(Protocol):
    """How pseudo-targets are built for heads without suppression, in which every object has one row of its own."""

    def match(self, predictions: DensePredictions, layouts: LayoutBatch, previous: DenseTargets | None) -> DenseTargets:
        """Targets from detached predictions.

        Args:
            previous: the targets of the step before, for the same layouts; its `positive_rows`, or
                `positive_identities`, tell which row each object had.
        """
        ...
