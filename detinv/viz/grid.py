"""Many images in one picture."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from detinv.viz.image import Picture, rescale


def image_grid(
    images: Sequence[UInt8[Tensor, "3 _ _"]],
    *,
    max_images: int = 16,
    columns: int | None = None,
    scale: int | float = 1,
    gap: int = 2,
) -> Picture:
    """Arrange the first `max_images` images row by row on white, for dashboards; images may differ in size.

    Args:
        columns: by default as many as make the grid nearly square.
        scale: whole factor of enlargement, or a fraction to reduce.
        gap: between images, in pixels.

    Raises:
        ValueError: if there is no image.
    """
    if not images:
        raise ValueError("a grid needs at least one image")
    pictures = [rescale(image, scale) for image in images[:max_images]]
    columns = min(columns or math.ceil(math.sqrt(len(pictures))), len(pictures))
    rows = -(-len(pictures) // columns)
    height, width = (max(picture.shape[axis] for picture in pictures) for axis in range(2))
    grid = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, dtype=np.uint8)
    for number, picture in enumerate(pictures):
        top, left = number // columns * (height + gap), number % columns * (width + gap)
        grid[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return grid
