"""The convolution of a single small image by oneDNN, which torch otherwise asks only for two images or more.

oneDNN gives an image the same bits in both cases, with channels last (in torch 2.11 only then); the library that torch
chooses instead gives others.
"""

from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# The operations of torch's own compiler; not in every build of torch.
_onednn = torch.ops.mkldnn
_AVAILABLE = hasattr(_onednn, "_convolution_pointwise") and hasattr(_onednn, "_convolution_transpose_pointwise")


def suits(layer: nn.Module, row: Tensor) -> TypeGuard[nn.Conv2d]:
    """Tell whether `convolve` gives what `layer` gives: an ordinary convolution with frozen weights, in float32."""
    return (
        _AVAILABLE
        and isinstance(layer, nn.Conv2d)
        and type(layer).forward is nn.Conv2d.forward
        and layer.groups == 1
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
        and not layer.weight.requires_grad
        and layer.weight.dtype == row.dtype == torch.float32
        and layer.weight.is_contiguous(memory_format=torch.channels_last)
        and row.is_contiguous(memory_format=torch.channels_last)
        and not torch.is_autocast_enabled("cpu")
    )


def convolve(layer: nn.Conv2d, row: Tensor) -> Tensor:
    """Return the layer's output for one image, on the CPU, with the bits that it has among several."""
    return _Convolution.apply(row, layer)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, row: Tensor, layer: nn.Conv2d) -> Tensor:
        ctx.layer, ctx.size = layer, row.shape[-2:]
        return _onednn._convolution_pointwise(
            row, layer.weight, layer.bias, layer.padding, layer.stride, layer.dilation, layer.groups, "none", [], ""
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None]:
        if not ctx.needs_input_grad[0]:
            return None, None
        layer: nn.Conv2d = ctx.layer
        # The rows and columns of the input that the last position of the kernel does not reach.
        beyond = [
            size - ((count - 1) * stride - 2 * padding + dilation * (kernel - 1) + 1)
            for size, count, stride, padding, dilation, kernel in zip(
                ctx.size,
                gradient.shape[-2:],
                layer.stride,
                layer.padding,
                layer.dilation,
                layer.kernel_size,
                strict=True,
            )
        ]
        found = _onednn._convolution_transpose_pointwise(
            gradient.contiguous(memory_format=torch.channels_last),
            layer.weight,
            None,
            layer.padding,
            beyond,
            layer.stride,
            layer.dilation,
            layer.groups,
            "none",
            [],
            "",
        )
        return found, None
