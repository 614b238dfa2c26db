"""What heads with one row for each cell of each level share: the cells, and constants kept for each input size."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from detinv.detectors.heads.predictions import DenseHead

MakeHead = Callable[[Tensor, tuple[int, ...], tuple[int, int]], DenseHead]
"""Cells XYXY in pixels, level sizes and (height, width) of the canvas to the constants of a head."""


class GridHeads:
    """The constants of a head, made once for each size of the canvas, because a step must not wait for them.

    Args:
        strides: of the levels, finest first.
        make: builds the constants from the cells, which are ordered by level, then row by row.
    """

    def __init__(self, strides: Sequence[int], make: MakeHead) -> None:
        self._strides = tuple(strides)
        self._make = make
        self._heads: dict[tuple[tuple[int, int], torch.device], DenseHead] = {}

    def at(self, pixels: Float[Tensor, "batch 3 height width"]) -> DenseHead:
        """Return the constants for a canvas of this size, on this device."""
        canvas, device = (pixels.shape[2], pixels.shape[3]), pixels.device
        if (canvas, device) not in self._heads:
            # Constants made under inference mode could not be saved for a later backward pass.
            with torch.inference_mode(False), torch.no_grad():
                levels = [grid_cells(canvas[0] // side, canvas[1] // side, side) for side in self._strides]
                cells = torch.cat(levels).to(device)
                head = replace(self._make(cells, tuple(map(len, levels)), canvas), strides=self._strides)
                # Cached here: computing it copies a list to the device, for which later steps would wait.
                _ = head.levels
            self._heads[canvas, device] = head
        return self._heads[canvas, device]


def grid_cells(rows: int, columns: int, stride: int) -> Float[Tensor, "cell 4"]:
    """Return the cells of a grid as boxes XYXY in pixels, row by row."""
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    corners = torch.stack([x, y, x + 1, y + 1], dim=-1)
    return corners.reshape(-1, 4).float() * stride


def around_corner(cells: Float[Tensor, "cell 4"]) -> Float[Tensor, "cell 4"]:
    """Return boxes as large as the cells, each centred on its cell's upper left corner.

    They are the anchors of heads that measure from that corner.
    """
    half = (cells[:, 2:] - cells[:, :2]) / 2
    return cells - half.repeat(1, 2)
