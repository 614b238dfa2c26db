"""A network's first convolution, with a fast gradient to the pixels on the CPU.

Libraries compute the gradient with respect to an image of three channels slowly, because there is little work for each
pixel. Rearranged to half the resolution, the image has twelve channels, and its gradient is an ordinary convolution of
stride one.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_STRIDE = 2
# With more input channels the library's own gradient is faster.
_MOST_CHANNELS = 4


class StridedStem(nn.Conv2d):
    """A convolution of stride 2 with frozen weights whose input has few channels.

    Args:
        ordinary: the same convolution; its parameters are shared.
    """

    def __init__(self, ordinary: nn.Conv2d) -> None:
        (height, width), padding = ordinary.kernel_size, ordinary.padding
        assert not isinstance(padding, str), "a layer that suits"
        (top, left), channels = padding, (ordinary.in_channels, ordinary.out_channels)
        super().__init__(*channels, (height, width), _STRIDE, (top, left), device="meta")
        self.weight, self.bias = ordinary.weight, ordinary.bias
        self.train(ordinary.training)
        self._turned: Tensor | None = None

    @staticmethod
    def suits(layer: nn.Conv2d) -> bool:
        """Tell whether a layer can be replaced by one of this class."""
        return (
            type(layer) is nn.Conv2d
            and layer.in_channels <= _MOST_CHANNELS
            and layer.stride == (_STRIDE, _STRIDE)
            and layer.dilation == (1, 1)
            and layer.groups == 1
            and not isinstance(layer.padding, str)
            and layer.padding_mode == "zeros"
        )

    def forward(self, input: Tensor) -> Tensor:
        if (
            input.device.type != "cpu"
            or input.ndim != 4
            or torch.is_autocast_enabled("cpu")
            or self.weight.requires_grad
            or not input.requires_grad
        ):
            return super().forward(input)
        if self._turned is None or self._turned.dtype != input.dtype:
            # Several threads may do this at once; they compute the same.
            self._turned = _turned(self.weight)
        return _Convolution.apply(input, self.weight, self.bias, self._turned, self.padding)


def _turned(
    weight: Float[Tensor, "out_channel in_channel height width"],
) -> Float[Tensor, "in_channel_4 out_channel half_height half_width"]:
    """Kernels, rotated by 180 degrees, from the output's gradient to that of the image on the coarse grid."""
    even = F.pad(weight.detach(), (0, weight.shape[3] % _STRIDE, 0, weight.shape[2] % _STRIDE))
    apart = F.pixel_unshuffle(even, _STRIDE)
    return apart.transpose(0, 1).flip(2, 3).contiguous(memory_format=torch.channels_last)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None, turned: Tensor, padding: tuple[int, int]
    ) -> Tensor:
        ctx.turned, ctx.padding, ctx.size = turned, padding, images.shape[-2:]
        return F.conv2d(images, weight, bias, _STRIDE, padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, None, None, None]:
        if not ctx.needs_input_grad[0]:
            return None, None, None, None, None
        rows, columns = ctx.turned.shape[-2:]
        coarse = F.conv2d(gradient, ctx.turned, padding=(rows - 1, columns - 1))
        fine = F.pixel_shuffle(coarse, _STRIDE)
        # The image begins where its padding ends; pixels beyond the kernel's last position have no gradient.
        (height, width), (top, left) = ctx.size, ctx.padding
        after = (width + left - fine.shape[3], height + top - fine.shape[2])
        return F.pad(fine, (-left, after[0], -top, after[1])), None, None, None, None
