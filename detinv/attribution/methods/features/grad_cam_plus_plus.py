"""Grad-CAM with weights that count how much each place of a channel contributes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from detinv.attribution.methods.base import PREDICTING, ActivationMethod
from detinv.errors import ConfigError

_TINY = 1e-12


@dataclass(frozen=True)
class GradCAMPlusPlus(ActivationMethod):
    """Grad-CAM++: a = G^2 / (2 G^2 + sum(A G^3)), weights sum(ReLU(G) a).

    Args:
        layers, smoothing: see `ActivationMethod`.
        summed: what the denominator adds up over the places of a channel: the "products" A G^3, or only the
            "activations" A, whose sum is multiplied with the G^3 of each place. Implementations do either.

    Source: Chattopadhay et al. 2018, "Grad-CAM++", equations 10 to 19, without the exponential of the score, as in the
    published implementations.

    Departures: a denominator of zero counts as none, so a is 0 where G is.
    """

    layers: Sequence[str | int] = (PREDICTING,)
    smoothing: float = 0.0
    summed: Literal["products", "activations"] = "products"

    def __post_init__(self) -> None:
        if self.summed not in ("products", "activations"):
            raise ConfigError(f"summed={self.summed}: choose products or activations")

    def layer_map(self, features: Tensor, gradients: Tensor, boxes: Tensor) -> Tensor:
        square = gradients.square()
        cube = gradients * square
        if self.summed == "products":
            added = (features * cube).sum((2, 3), keepdim=True)
        else:
            added = features.sum((2, 3), keepdim=True) * cube
        below = 2 * square + added
        share = torch.where(below.abs() > _TINY, square / torch.where(below.abs() > _TINY, below, 1.0), 0.0)
        return ((gradients.clamp(min=0) * share).sum((2, 3), keepdim=True) * features).sum(1)
