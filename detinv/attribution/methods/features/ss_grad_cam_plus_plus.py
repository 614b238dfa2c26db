"""Grad-CAM++ for one object: its box, and the size of the gradient at each place."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from detinv.attribution.methods.base import PREDICTING, ActivationMethod

_TINY = 1e-12


@dataclass(frozen=True)
class SSGradCAMPlusPlus(ActivationMethod):
    """Spatially sensitive Grad-CAM++: activations times weights of their channel, times the space map s.

    With m the box, s = |G| / max|G| and a = G^2 / (2 G^2 m + sum(A m G^3)): weights sum(ReLU(G) a), map sum(w A s).

    Args:
        layers, smoothing: see `ActivationMethod`.
        space: where s counts: in the "map", as published; or only in the "weights", sum(ReLU(G s) a), which then are
            the same at all places, as a later comparison of methods states it.

    Source: Yamauchi & Ishikawa 2022, "Spatial Sensitive Grad-CAM", whose maps are multiplied with the space map;
    Yamauchi 2024, "Spatial Sensitive Grad-CAM++".

    Departures: the maximum of |G| is that of a channel; a is 0 where its denominator is.
    """

    layers: Sequence[str | int] = (PREDICTING,)
    smoothing: float = 0.0
    space: Literal["map", "weights"] = "map"

    def layer_map(self, features: Tensor, gradients: Tensor, boxes: Tensor) -> Tensor:
        inside = boxes[:, None]
        square = gradients.square()
        space = gradients.abs() / gradients.abs().amax((2, 3), keepdim=True).clamp(min=_TINY)
        below = 2 * square * inside + (features * inside * gradients * square).sum((2, 3), keepdim=True)
        share = torch.where(below.abs() > _TINY, square / torch.where(below.abs() > _TINY, below, 1.0), 0.0)
        positive = gradients.clamp(min=0) * (space if self.space == "weights" else 1)
        weights = (positive * share).sum((2, 3), keepdim=True)
        return (weights * features * (space if self.space == "map" else 1)).sum(1)
