"""Grad-CAM++ for one object: its box, and the size of the gradient at each place."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from detinv.attribution.methods.base import PREDICTING, ActivationMethod

_TINY = 1e-12


@dataclass(frozen=True)
class SSGradCAMPlusPlus(ActivationMethod):
    """Spatially sensitive Grad-CAM++: with m the box and s = |G| / max|G|, weights sum(ReLU(G s) a).

    Here a = G^2 / (2 G^2 m + sum(A m G^3)).

    Args:
        layers, smoothing: see `ActivationMethod`.

    Source: Yamauchi 2024, "Spatial Sensitive Grad-CAM++", as a later comparison of methods for detectors states it.

    Departures: the maximum of |G| is that of a channel; a is 0 where its denominator is.
    """

    layers: Sequence[str | int] = (PREDICTING,)
    smoothing: float = 0.0

    def layer_map(self, features: Tensor, gradients: Tensor, boxes: Tensor) -> Tensor:
        inside = boxes[:, None]
        square = gradients.square()
        sensitive = gradients.abs() / gradients.abs().amax((2, 3), keepdim=True).clamp(min=_TINY)
        below = 2 * square * inside + (features * inside * gradients * square).sum((2, 3), keepdim=True)
        share = torch.where(below.abs() > _TINY, square / torch.where(below.abs() > _TINY, below, 1.0), 0.0)
        weights = ((gradients * sensitive).clamp(min=0) * share).sum((2, 3), keepdim=True)
        return (weights * features).sum(1)
