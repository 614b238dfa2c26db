"""Gradient times pixel."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from detinv.attribution.methods.base import PIXELS, ActivationMethod


@dataclass(frozen=True)
class GradientTimesInput(ActivationMethod):
    """The sum over colours of gradient times pixel, where zero is the detector's mean colour.

    Args:
        smoothing: see `ActivationMethod`.

    Source: Shrikumar et al. 2017, "Learning Important Features Through Propagating Activation Differences", section 2.

    Departures: none.
    """

    layers: Sequence[str | int] = (PIXELS,)
    smoothing: float = 0.0
    signed: bool = True

    def layer_map(self, features: Tensor, gradients: Tensor, boxes: Tensor) -> Tensor:
        return (gradients * features).sum(1)
