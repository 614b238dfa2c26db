"""Visual explanation accuracy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from detinv.attribution.metrics.base import AbstractLocation, Truth, size_of


@dataclass(frozen=True)
class ExplanationAccuracy(AbstractLocation):
    """The IoU of the object with the pixels above a share of the map's maximum, averaged over such shares.

    Args:
        within: the object's "mask" or its "box".
        thresholds: shares of the maximum, in (0, 1).

    Source: Oramas et al. 2019, "Visual Explanation by Interpretation", section 4.3, as Zhao & Chan 2023, "ODAM", apply
    it to objects.

    Departures: none.
    """

    within: Literal["box", "mask"] = "mask"
    thresholds: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

    def measure(self, heat: Tensor, truth: Truth) -> float:
        region = truth.region(size_of(heat), self.within)
        highest = float(heat.max())
        if region is None or highest <= 0:
            return float("nan")
        found = heat > highest * heat.new_tensor(list(self.thresholds))[:, None, None]
        both, either = (found & region).sum((1, 2)), (found | region).sum((1, 2))
        return float(torch.mean(both / either))
