"""A Gaussian in the middle of the box."""

from dataclasses import dataclass

import torch
from torch import Tensor

from detinv.attribution.controls.base import AbstractControl
from detinv.inputs.ranges import check_range


@dataclass(frozen=True)
class CentredGaussian(AbstractControl):
    """A Gaussian at the centre of the object's box: it satisfies every measure that asks only for the box.

    Args:
        width: standard deviation along each axis, as a fraction of the box's side.
    """

    width: float = 0.25

    def __post_init__(self) -> None:
        check_range(self, "width", above=True)

    def maps(self, canvas: Tensor, boxes: Tensor, seed: int) -> Tensor:
        x0, y0, x1, y1 = (edge[:, None] for edge in boxes.unbind(1))
        xs = torch.arange(canvas.shape[2], device=canvas.device) + 0.5
        ys = torch.arange(canvas.shape[1], device=canvas.device) + 0.5
        across = ((xs - (x0 + x1) / 2) / (self.width * (x1 - x0))).square()
        down = ((ys - (y0 + y1) / 2) / (self.width * (y1 - y0))).square()
        return (-(across[:, None, :] + down[:, :, None]) / 2).exp()
