"""What a loss compares raw predictions with, and the signatures of the rules that build it.

Legend: B images, A rows of a dense head, R chosen rows, K classes, M object slots, P regions of interest.
A weight of zero means that the target equals the current output there: no loss, no gradient.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from detinv.detectors.heads.assigners import Assignment
from detinv.detectors.heads.predictions import DensePredictions, RoIPredictions
from detinv.layouts.batch import LayoutBatch


@dataclass(frozen=True)
class DenseTargets:
    """Targets of a one-stage head.

    Args:
        rows: the rows that are compared; all others are unconstrained.
        class_targets: 1 for the wanted class, 0 otherwise.
        class_weights: 1 where the class score is compared with its target.
        box_targets: XYXY in pixels, meaningful where `box_weights` is 1.
        box_weights: 1 for rows assigned to an object.
        quality_targets, quality_weights: the same for centre-ness or objectness; None for heads without either.
        positive_rows: the row of each object whose logit the positive term raises.
        positive_labels: its class.
        positive_weights: 1 for slots that hold an object.
        positive_identities: identity of that row, see `DensePredictions`; None where its position identifies it.
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
    """Targets of a region proposal network.

    Args:
        objectness_targets: 1 for rows that should propose an object.
        objectness_weights: weight of each row's objectness; they sum to the number of rows compared.
        delta_targets: in the head's own code, meaningful where `delta_weights` is not 0.
        delta_weights: weight of each row's regression.
        normalizer: divisor of the sums over the rows of each image.
    """

    objectness_targets: Float[Tensor, "batch anchor"]
    objectness_weights: Float[Tensor, "batch anchor"]
    delta_targets: Float[Tensor, "batch anchor 4"]
    delta_weights: Float[Tensor, "batch anchor"]
    normalizer: Float[Tensor, " batch"]


@dataclass(frozen=True)
class RoITargets:
    """Targets of the second stage.

    Args:
        labels: wanted class of each region, K for background.
        class_weights: weight of each region's classification.
        delta_targets: in the head's own code, for the wanted class.
        delta_weights: weight of each region's regression.
        mask_targets: in [0, 1], each object's mask cropped to its box at the mask head's resolution.
        object_weights: 1 for slots that hold an object; the given regions are the last M.
        object_labels: the class of each slot.
    """

    labels: Int64[Tensor, "batch roi"]
    class_weights: Float[Tensor, "batch roi"]
    delta_targets: Float[Tensor, "batch roi 4"]
    delta_weights: Float[Tensor, "batch roi"]
    mask_targets: Float[Tensor, "batch object side side"] | None
    object_weights: Float[Tensor, "batch object"]
    object_labels: Int64[Tensor, "batch object"]


State = dict[str, dict[str, Tensor | None]]

_PARTS: dict[str, type] = {
    "dense": DenseTargets,
    "encoder": DenseTargets,
    "proposals": ProposalTargets,
    "roi": RoITargets,
}


@dataclass(frozen=True)
class Targets:
    """Pseudo-targets of all heads of a detector.

    One-stage detectors have `dense`, and `encoder` if they are transformers that select their queries; two-stage
    detectors have `proposals` and `roi`.
    """

    dense: DenseTargets | None = None
    encoder: DenseTargets | None = None
    proposals: ProposalTargets | None = None
    roi: RoITargets | None = None

    def state(self) -> State:
        """Return what `of_state` makes the same targets of, for checkpoints: tensors by head and name."""
        return {head: dict(vars(part)) for head, part in vars(self).items() if part is not None}

    @classmethod
    def of_state(cls, state: State) -> "Targets":
        """Return the targets that had this `state`."""
        return cls(**{head: _PARTS[head](**tensors) for head, tensors in state.items()})

    def to(self, device: torch.device | str) -> "Targets":
        """Return the same targets on another device."""
        moved = {
            head: {name: None if tensor is None else tensor.to(device) for name, tensor in tensors.items()}
            for head, tensors in self.state().items()
        }
        return Targets.of_state(moved)


@runtime_checkable
class TargetRule(Protocol):
    """Builds pseudo-targets from detached predictions; every method is pure and runs without gradient."""

    def dense(self, predictions: DensePredictions, layouts: LayoutBatch, assignment: Assignment) -> DenseTargets:
        """Build the targets of a one-stage head."""
        ...

    def proposals(self, predictions: DensePredictions, layouts: LayoutBatch, assignment: Assignment) -> ProposalTargets:
        """Build the targets of a proposal head."""
        ...

    def roi(self, predictions: RoIPredictions, layouts: LayoutBatch) -> RoITargets:
        """Build the targets of a second stage."""
        ...


@runtime_checkable
class MatchingRule(Protocol):
    """Builds pseudo-targets for heads without suppression, in which each object has exactly one row."""

    def match(
        self, heads: Sequence[DensePredictions], layouts: LayoutBatch, previous: Sequence[DenseTargets | None]
    ) -> list[DenseTargets]:
        """Build targets for each head of a detector, all at once, because the host may have to wait for the device.

        Args:
            heads: detached predictions.
            previous: each head's targets of the previous step for the same layouts. Their `positive_identities`, or
                else their `positive_rows`, are the rows that the objects had.
        """
        ...
