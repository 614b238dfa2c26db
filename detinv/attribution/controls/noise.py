"""Random patches."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from detinv.attribution.controls.base import AbstractControl
from detinv.inputs.ranges import check_range


@dataclass(frozen=True)
class Noise(AbstractControl):
    """A random number in each cell of a grid, bilinear in between; another one for each object.

    Args:
        cells: of the grid along each axis.
    """

    cells: int = 16

    def __post_init__(self) -> None:
        check_range(self, "cells", 2)

    def maps(self, canvas: Tensor, boxes: Tensor, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        grid = torch.rand(len(boxes), 1, self.cells, self.cells, generator=generator)
        return F.interpolate(grid.to(canvas), canvas.shape[1:], mode="bilinear", align_corners=False)[:, 0]
