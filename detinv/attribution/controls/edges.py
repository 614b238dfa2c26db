"""An edge detector."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from detinv.attribution.controls.base import AbstractControl
from detinv.attribution.core.smoothing import smoothed
from detinv.inputs.ranges import check_range


@dataclass(frozen=True)
class Edges(AbstractControl):
    """The length of the image's gradient, the same for all objects; maps of networks are often no more than that.

    Args:
        smoothing: standard deviation in pixels of the network's input.

    Source: Adebayo et al. 2018, "Sanity Checks for Saliency Maps", section 5, where edges are the control.
    """

    smoothing: float = 2.0

    def __post_init__(self) -> None:
        check_range(self, "smoothing")

    def maps(self, canvas: Tensor, boxes: Tensor, seed: int) -> Tensor:
        padded = F.pad(canvas[None], (1, 1, 1, 1), mode="replicate")[0]
        across = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
        down = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
        length = torch.sqrt((across.square() + down.square()).sum(0))
        return smoothed(length[None], self.smoothing).expand(len(boxes), -1, -1)
