"""Boxes at which the second stage of a detector is evaluated, besides its own proposals or instead of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class Regions:
    """M regions in each of B images.

    Args:
        boxes: XYXY in pixels of the canvas; constants, no gradient flows into them.
        valid: false for rows that only pad an image with fewer regions.
        alone: whether the second stage is evaluated at these regions only, without the detector's own proposals.
    """

    boxes: Float[Tensor, "batch object 4"]
    valid: Bool[Tensor, "batch object"]
    alone: bool = False

    @classmethod
    def none(cls, pixels: Float[Tensor, "batch 3 _ _"]) -> "Regions":
        """Return zero regions for each image of `pixels`."""
        count, device = len(pixels), pixels.device
        return cls(torch.zeros(count, 0, 4, device=device), torch.zeros(count, 0, dtype=torch.bool, device=device))

    def rows(self, images: Sequence[int]) -> "Regions":
        """Return the regions of the images with these numbers."""
        return type(self)(self.boxes[list(images)], self.valid[list(images)], self.alone)

    @classmethod
    def of(cls, boxes: Float[Tensor, "batch object 4"], alone: bool = False) -> "Regions":
        """Regions all of which are valid."""
        return cls(boxes, torch.ones(boxes.shape[:2], dtype=torch.bool, device=boxes.device), alone)
