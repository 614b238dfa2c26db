"""Winograd's algorithm for every convolution of some lines of code that it suits, without touching any module."""

from typing import Any

import torch
from torch import Tensor

from detinv.detectors.acceleration.replaced_function import ReplacedFunction
from detinv.detectors.acceleration.winograd import convolved, is_short, saves_time, transformed

# Tiles of several gradients are processed together, so that fewer in each pay than in one image.
_LEAST_TILES = 9


class ShortConvolutions(ReplacedFunction):
    """Within it, frozen 3 x 3 convolutions of large feature maps on the CPU, and their gradients, cost less.

        with ShortConvolutions():
            logits = head(features)

    Only rounding differs; see `winograd`. Transformed kernels are kept as long as the object.
    """

    def __init__(self) -> None:
        super().__init__(torch.conv2d, self._convolution)
        # By the weights' identity; they are kept as well, so that it stays theirs.
        self._kernels: dict[int, tuple[Tensor, Tensor]] = {}

    def _convolution(
        self,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor:
        ones = all(one in (1, (1, 1), [1, 1]) for one in (stride, padding, dilation)) and groups == 1
        if not ones or not saves_time(weight) or not is_short(input, weight, _LEAST_TILES):
            return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)
        if id(weight) not in self._kernels:
            self._kernels[id(weight)] = (weight, transformed(weight))
        return convolved(input, self._kernels[id(weight)][1], bias)
