"""Object discrimination index."""

from dataclasses import dataclass

from torch import Tensor

from detinv.attribution.metrics.base import AbstractLocation, Truth, size_of


@dataclass(frozen=True)
class Discrimination(AbstractLocation):
    """How much of the energy in objects lies in other ones than the one that is explained, in [0, 1]; lower is better.

    Args:
        published: count the energy where another box overlaps the explained one as the other's, and an image with one
            object as 0, as the published code does. Otherwise the explained box is taken out of the others, and an
            object without others has no index.

    Source: Zhao & Chan 2023, "ODAM", section 4.3.

    Departures: see `published`.
    """

    published: bool = False
    higher_is_better: bool = False

    def measure(self, heat: Tensor, truth: Truth) -> float:
        if not len(truth.others):
            return 0.0 if self.published else float("nan")
        size = size_of(heat)
        own, others = truth.region(size, "box"), truth.elsewhere(size)
        assert own is not None
        positive = heat.clamp(min=0).double()
        everywhere = float(positive[own | others].sum())
        elsewhere = float(positive[others if self.published else others & ~own].sum())
        return elsewhere / everywhere if everywhere > 0 else float("nan")
