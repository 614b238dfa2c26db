"""What every measure of where a map lies is."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from detinv.attribution.core.measures import inside_box

Box = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Truth:
    """The object that a map is about, and the others of its image, in the frame of the image.

    Args:
        box: XYXY.
        others: boxes of the other objects.
        mask: of the object, where it is known.
    """

    box: Box
    others: Float[Tensor, "other 4"]
    mask: Bool[Tensor, "height width"] | None = None

    def region(self, size: tuple[int, int], within: str) -> Bool[Tensor, "height width"] | None:
        """Return the pixels of the object's "box" or "mask"; None for a mask that is not known or empty."""
        if within == "box":
            return inside_box(self.box, size)
        return None if self.mask is None or not bool(self.mask.any()) else self.mask

    def elsewhere(self, size: tuple[int, int]) -> Bool[Tensor, "height width"]:
        """Return the pixels in the boxes of the other objects."""
        found = torch.zeros(size, dtype=torch.bool)
        for x0, y0, x1, y1 in self.others.tolist():
            found |= inside_box((x0, y0, x1, y1), size)
        return found


class AbstractLocation(ABC):
    """A measure of where a map lies; subclasses are frozen dataclasses."""

    higher_is_better: bool = True

    @abstractmethod
    def measure(self, heat: Float[Tensor, "height width"], truth: Truth) -> float:
        """Return the measure of one map in the frame of its image; NaN where it is not defined."""


def size_of(heat: Float[Tensor, "height width"]) -> tuple[int, int]:
    """Return (height, width)."""
    return heat.shape[0], heat.shape[1]
