"""Suppression by local maxima: a row reports a class only where no cell around it has a higher score of that class.

Legend: B images, A rows, K classes. The window of a cell is the square of `kernel` x `kernel` cells around it, as far
as they exist, on its own level.

Source: Zhou et al. 2019, "Objects as Points", section 4: the peaks of a heat map, by max pooling, instead of
non-maximum suppression.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

Grids = Sequence[tuple[int, int]]
"""(rows, columns) of the cells of each level."""


def grid_shapes(anchors: Float[Tensor, "anchor 4"], level_sizes: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Return how many rows and columns of cells each level has.

    Args:
        anchors: XYXY in pixels, ordered by level.
        level_sizes: how many each level has.

    Raises:
        ValueError: unless each level has one anchor for each cell of a grid, row by row.
    """
    centres = (1e3 * (anchors[:, :2] + anchors[:, 2:]) / 2).round()
    shapes = []
    for number, level in enumerate(centres.split(list(level_sizes))):
        xs, ys = level[:, 0].unique(), level[:, 1].unique()
        cells = torch.stack([xs.repeat(len(ys)), ys.repeat_interleave(len(xs))], dim=1)
        if not torch.equal(level, cells):
            raise ValueError(
                f"peak_kernel needs one row for each cell of a grid, row by row; level {number} has {len(level)} rows "
                f"at {len(ys)} x {len(xs)} places"
            )
        shapes.append((len(ys), len(xs)))
    return tuple(shapes)


def highest_around(
    scores: Float[Tensor, "batch row class"], grids: Grids, kernel: int
) -> tuple[Float[Tensor, "batch row class"], Int64[Tensor, "batch row class"]]:
    """Return the highest score in the window of each cell, of each class, and the row that has it.

    A cell whose own score that is reports the class.
    """
    values, rows, start = [], [], 0
    for height, width in grids:
        level = scores[:, start : start + height * width].transpose(1, 2).unflatten(2, (height, width))
        highest, places = F.max_pool2d(level, kernel, stride=1, padding=kernel // 2, return_indices=True)
        values.append(highest.flatten(2).transpose(1, 2))
        rows.append(places.flatten(2).transpose(1, 2) + start)
        start += height * width
    return torch.cat(values, dim=1), torch.cat(rows, dim=1)


def summits(scores: Float[Tensor, "batch row class"], grids: Grids, kernel: int) -> Int64[Tensor, "batch row class"]:
    """Return the local maximum to which each cell belongs, for each class, by its row.

    It is reached by going to the highest cell of the window, again and again.
    """
    _, rows = highest_around(scores, grids, kernel)
    # Each round doubles the number of steps, and no way is longer than a level has cells.
    for _ in range(max(height * width for height, width in grids).bit_length()):
        rows = rows.gather(1, rows)
    return rows
