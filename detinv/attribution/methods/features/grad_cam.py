"""Activations weighted by the mean gradient of their channel."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from detinv.attribution.methods.base import PREDICTING, ActivationMethod


@dataclass(frozen=True)
class GradCAM(ActivationMethod):
    """Grad-CAM: the sum over channels of A, weighted by the spatial mean of G.

    Args:
        layers, smoothing: see `ActivationMethod`.
        signed: whether evidence against is kept.

    Source: Selvaraju et al. 2017, "Grad-CAM", equations 1 and 2.

    Departures: none. The weights do not depend on the place, so all instances of a class light up.
    """

    layers: Sequence[str | int] = (PREDICTING,)
    smoothing: float = 0.0
    signed: bool = False

    def layer_map(self, features: Tensor, gradients: Tensor, boxes: Tensor) -> Tensor:
        return (gradients.mean((2, 3), keepdim=True) * features).sum(1)
