"""Gradient times activation, element by element."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from detinv.attribution.methods.base import PREDICTING, ActivationMethod


@dataclass(frozen=True)
class HiResCAM(ActivationMethod):
    """HiResCAM of one instance, which is ODAM: the sum over channels of G * A.

    Args:
        layers, smoothing: see `ActivationMethod`; by default the level that predicted the object, as published.
        signed: whether evidence against is kept.

    Source: Draelos & Carin 2020, "Use HiResCAM instead of Grad-CAM"; Zhao & Chan 2023, "ODAM", equation 3.

    Departures: ODAM's map is kept at its own resolution and not divided by its range. Two-stage detectors are asked at
    the level that their region is pooled from, as ODAM does.
    """

    layers: Sequence[str | int] = (PREDICTING,)
    smoothing: float = 0.0
    signed: bool = False

    def layer_map(self, features: Tensor, gradients: Tensor, boxes: Tensor) -> Tensor:
        return (gradients * features).sum(1)
