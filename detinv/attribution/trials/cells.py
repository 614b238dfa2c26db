"""Parts of an image that are covered or shown as a whole: the cells of a grid, or superpixels."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from kornia.color import rgb_to_lab
from torch import Tensor

_ROUNDS = 10


def grid_cells(size: tuple[int, int], count: int) -> Int64[Tensor, "height width"]:
    """Return the number of each pixel's cell, row by row, in a grid of `count` cells along the longer side.

    Args:
        size: (height, width). Cells are as nearly square as whole numbers of them allow.
    """
    longer = max(size)
    rows, columns = (max(1, round(count * side / longer)) for side in size)
    down, across = torch.arange(size[0]) * rows // size[0], torch.arange(size[1]) * columns // size[1]
    return down[:, None] * columns + across


def superpixels(
    pixels: Float[Tensor, "3 height width"], count: int, compactness: float = 10.0
) -> Int64[Tensor, "height width"]:
    """Return the number of each pixel's superpixel: k-means of colour and place, each pixel with the centres around it.

    Args:
        pixels: RGB in [0, 1].
        count: of superpixels, about; the nearest full grid of centres is taken.
        compactness: what a distance of one grid step counts, in units of CIELAB.

    Source: Achanta et al. 2012, "SLIC Superpixels Compared to State-of-the-Art Superpixel Methods", section 3.

    Departures: the centres of the eight grid cells around a pixel's own and that of its own are compared, wherever they
    have moved; parts that have lost their connection keep their number.
    """
    height, width = pixels.shape[1:]
    step = (height * width / count) ** 0.5
    rows, columns = max(1, round(height / step)), max(1, round(width / step))
    ys, xs = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    place = torch.stack([ys, xs]).to(pixels) * (compactness / step)
    points = torch.cat([rgb_to_lab(pixels[None])[0], place]).flatten(1)
    home = torch.stack([ys * rows // height, xs * columns // width]).flatten(1).to(pixels.device)
    around = [(home + home.new_tensor([[dy], [dx]])) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    inside = torch.stack([((y >= 0) & (y < rows) & (x >= 0) & (x < columns)) for y, x in around])
    near = torch.stack([y.clamp(0, rows - 1) * columns + x.clamp(0, columns - 1) for y, x in around])
    labels = home[0] * columns + home[1]
    centres = points.new_zeros(len(points), rows * columns)
    for _ in range(_ROUNDS):
        sizes = torch.bincount(labels, minlength=rows * columns)
        moved = points.new_zeros(centres.shape).index_add(1, labels, points) / sizes.clamp(min=1)
        centres = torch.where(sizes > 0, moved, centres)
        distances = torch.stack([(points - centres[:, mine]).square().sum(0) for mine in near])
        labels = near.gather(0, distances.masked_fill(~inside, torch.inf).argmin(0, keepdim=True))[0]
    return labels.unique(return_inverse=True)[1].reshape(height, width).cpu()


def on_canvas(cells: Int64[Tensor, "height width"], canvas: tuple[int, int]) -> Int64[Tensor, "rows columns"]:
    """Return cells with -1 for the padding to the right of the image and below."""
    height, width = cells.shape
    return F.pad(cells, (0, canvas[1] - width, 0, canvas[0] - height), value=-1)
