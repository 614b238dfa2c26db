"""Activations weighted by the positive part of their own gradient."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from detinv.attribution.methods.base import PREDICTING, ActivationMethod


@dataclass(frozen=True)
class LayerCAM(ActivationMethod):
    """LayerCAM: the sum over channels of ReLU(G) * A.

    Args:
        layers, smoothing: see `ActivationMethod`.

    Source: Jiang et al. 2021, "LayerCAM", equation 6.

    Departures: none of one layer; the maps of several layers are multiplied, where the paper takes their maximum.
    """

    layers: Sequence[str | int] = (PREDICTING,)
    smoothing: float = 0.0

    def layer_map(self, features: Tensor, gradients: Tensor, boxes: Tensor) -> Tensor:
        return (gradients.clamp(min=0) * features).sum(1)
