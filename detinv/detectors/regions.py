"""Boxes at which the second stage of a detector is evaluated in addition to its own proposals."""

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
    """

    boxes: Float[Tensor, "batch object 4"]
    valid: Bool[Tensor, "batch object"]

    @classmethod
    def none(cls, pixels: Float[Tensor, "batch 3 _ _"]) -> "Regions":
        """Return zero regions for each image of `pixels`."""
        count, device = len(pixels), pixels.device
        return cls(torch.zeros(count, 0, 4, device=device), torch.zeros(count, 0, dtype=torch.bool, device=device))

    def rows(self, images: Sequence[int]) -> "Regions":
        """Return the regions of the images with these numbers."""
        return type(self)(self.boxes[list(images)], self.valid[list(images)])

    @classmethod
    def of(cls, boxes: Float[Tensor, "batch object 4"]) -> "Regions":
        """Regions all of which are valid."""
        return cls(boxes, torch.ones(boxes.shape[:2], dtype=torch.bool, device=boxes.device))
