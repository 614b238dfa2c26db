"""Photographs with their layouts, as a detector's network receives them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, UInt8
from torch import Tensor

from detinv.detectors.base import AbstractDetector
from detinv.experiments.common.store import Images
from detinv.layouts.boxes import area
from detinv.layouts.layout import Layout
from detinv.metrics.edges import box_region


@dataclass(frozen=True)
class NetworkScenes:
    """Photographs in the size of the network's input, and the layouts that hold in them."""

    images: Images
    layouts: list[Layout]

    def number_of(self, layout_id: str) -> int | None:
        """Find the number of a layout; None when it is not there."""
        return next((number for number, layout in enumerate(self.layouts) if layout.id == layout_id), None)

    def of_largest(self) -> "NetworkScenes":
        """Return the scenes that have objects, each with its largest object alone."""
        kept = [number for number, layout in enumerate(self.layouts) if len(layout)]
        layouts = []
        for number in kept:
            layout = self.layouts[number]
            largest = torch.arange(len(layout)) == area(layout.boxes).argmax()
            layouts.append(layout.select(largest))
        return NetworkScenes([self.images[number] for number in kept], layouts)


def in_network_frame(detector: AbstractDetector, images: Images, layouts: Sequence[Layout]) -> NetworkScenes:
    """Resize photographs and layouts to the detector's input.

    Args:
        images: 8-bit RGB.
        layouts: in the pixels of the images.
    """
    sizes = [detector.network_size(layout.image_size) for layout in layouts]
    return NetworkScenes(
        [_resized(image, size) for image, size in zip(images, sizes, strict=True)],
        [layout.resized(size) for layout, size in zip(layouts, sizes, strict=True)],
    )


def inside_boxes(layout: Layout) -> Bool[Tensor, "height width"]:
    """Return which pixels lie in any of the boxes."""
    region = torch.zeros(layout.image_size, dtype=torch.bool)
    for box in layout.boxes:
        region |= box_region(box, layout.image_size)
    return region


def _resized(image: UInt8[Tensor, "3 _ _"], size: tuple[int, int]) -> UInt8[Tensor, "3 _ _"]:
    if tuple(image.shape[1:]) == size:
        return image
    resized = F.interpolate(image[None].float(), size, mode="bilinear", align_corners=False, antialias=True)
    return resized[0].round().clamp(0, 255).to(torch.uint8)
