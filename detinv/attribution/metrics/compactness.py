"""How far a map spreads."""

from dataclasses import dataclass

from torch import Tensor

from detinv.attribution.core.measures import compactness
from detinv.attribution.metrics.base import AbstractLocation, Truth


@dataclass(frozen=True)
class Compactness(AbstractLocation):
    """The distance of the energy from the map's maximum, in half diagonals of the box; lower is tighter.

    Source: Zhao & Chan 2023, "ODAM", section 4.2.

    Departures: none.
    """

    higher_is_better: bool = False

    def measure(self, heat: Tensor, truth: Truth) -> float:
        return compactness(heat, truth.box)
