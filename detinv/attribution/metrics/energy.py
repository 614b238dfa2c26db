"""The energy-based pointing game."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from detinv.attribution.core.measures import energy_share
from detinv.attribution.metrics.base import AbstractLocation, Truth, size_of


@dataclass(frozen=True)
class Energy(AbstractLocation):
    """The share of the map's positive energy that lies in the object, in [0, 1].

    Args:
        within: the object's "box" or its "mask".

    Source: Wang et al. 2020, "Score-CAM", section 4.3.

    Departures: none.
    """

    within: Literal["box", "mask"] = "box"

    def measure(self, heat: Tensor, truth: Truth) -> float:
        region = truth.region(size_of(heat), self.within)
        return float("nan") if region is None else energy_share(heat, region)
