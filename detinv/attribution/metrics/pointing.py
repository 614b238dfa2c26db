"""The pointing game."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from detinv.attribution.core.measures import inside_box, without_rounding
from detinv.attribution.metrics.base import AbstractLocation, Truth, size_of


@dataclass(frozen=True)
class Pointing(AbstractLocation):
    """Whether the map's maximum lies in the object: 1 or 0, and where several pixels share it the share of those.

    Args:
        within: the object's "box" or its "mask".
        margin: pixels by which a box is enlarged.

    Source: Zhang et al. 2016, "Top-down Neural Attention by Excitation Backprop", section 4.1.

    Departures: with several maxima, the first one in the order of the pixels is not preferred.
    """

    within: Literal["box", "mask"] = "box"
    margin: float = 0.0

    def measure(self, heat: Tensor, truth: Truth) -> float:
        region = truth.region(size_of(heat), self.within)
        if region is None:
            return float("nan")
        if self.within == "box" and self.margin:
            region = inside_box(truth.box, size_of(heat), self.margin)
        values = without_rounding(heat)
        return float(region[values == values.max()].float().mean())
