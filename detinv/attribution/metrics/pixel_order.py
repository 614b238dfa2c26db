"""In which order a map says that pixels matter."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from detinv.attribution.core.frames import Frame, resampled
from detinv.attribution.core.measures import without_rounding

# Of the random grid by which equal values are ordered, along each axis.
_CELLS = 16


def on_canvas_of(
    heat: Float[Tensor, "*maps height width"], frame: Frame
) -> tuple[Float[Tensor, "*maps rows columns"], Bool[Tensor, "rows columns"]]:
    """Return maps in the frame of the canvas, and which of its pixels show the image.

    Args:
        heat: in the frame of the image.
    """
    height, width = frame.canvas_size
    x0, y0, x1, y1 = frame.to_image(torch.tensor([0.0, 0.0, width, height], dtype=torch.float64)).tolist()
    rows, columns = frame.image_size
    found = resampled(heat, (x0 / columns, y0 / rows, x1 / columns, y1 / rows), frame.canvas_size)
    xs = x0 + (torch.arange(width) + 0.5) * ((x1 - x0) / width)
    ys = y0 + (torch.arange(height) + 0.5) * ((y1 - y0) / height)
    return found, ((ys > 0) & (ys < rows))[:, None] & ((xs > 0) & (xs < columns))


def pixel_ranks(
    heat: Float[Tensor, "height width"], inside: Bool[Tensor, "height width"], seed: int
) -> Int64[Tensor, "height width"]:
    """Return the place of each pixel in the order of falling values, from 0; -1 outside the image.

    Equal values, such as the zeros of a rectified map, are ordered by the cells of a random grid: neither the upper
    edge of the image nor scattered pixels are preferred.
    """
    generator = torch.Generator().manual_seed(seed)
    grid = torch.rand(1, 1, _CELLS, _CELLS, generator=generator)
    ties = F.interpolate(grid, inside.shape, mode="nearest-exact")[0, 0][inside]
    order = ties.argsort(stable=True)
    order = order[without_rounding(heat[inside])[order].argsort(descending=True, stable=True)]
    places = torch.empty_like(order)
    places[order] = torch.arange(len(order))
    ranks = torch.full(inside.shape, -1)
    ranks[inside] = places
    return ranks
