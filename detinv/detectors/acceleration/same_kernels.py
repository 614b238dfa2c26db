"""Layers that compute an image, or a region, with the same code in any batch and in any number of threads, on the CPU.

Torch chooses a layer's library by the size of its input and the number of threads, so that the last bits of a row
depend on how many others there are: a single small row goes to another one than two, 1 x 1 convolutions to oneDNN only
with several threads or 16 rows, and products of a few rows are summed in another order. oneDNN gives a row the same
bits among two rows or more.

Source: the choice is made in torch's aten/src/ATen/native/Convolution.cpp.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from detinv.detectors.acceleration import single_row

# A single row of up to so many numbers is not given to oneDNN.
_SMALL = 20480
# From so many rows on, the order of a product's sums does not depend on their number.
_LEAST_ROWS = 8


def keep_kernels(network: nn.Module) -> None:
    """Make convolutions and linear layers of `network` compute a row with the same code in any batch, in place.

    The network must not be copied afterwards: copies of its layers would call those of the original.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1):
                # Means nothing for a single point, but torch gives dilated convolutions to oneDNN.
                module.dilation = (2, 2)
            _replace_forward(module, partial(_convolve, module, module.forward))
        elif isinstance(module, nn.Linear):
            _replace_forward(module, partial(_multiply, module.forward))


def _replace_forward(module: nn.Module, forward: Callable[..., Tensor]) -> None:
    # Of this instance alone: other code may ask for its class and attributes.
    vars(module)["forward"] = forward


def _convolve(layer: nn.Module, forward: Callable[..., Tensor], rows: Tensor) -> Tensor:
    if rows.ndim != 4 or len(rows) != 1 or rows.numel() > _SMALL:
        return forward(rows)
    if single_row.suits(layer, rows):
        return single_row.convolve(layer, rows)
    return forward(torch.cat([rows, rows]))[:1]


def _multiply(forward: Callable[..., Tensor], rows: Tensor) -> Tensor:
    if rows.ndim == 2 and 0 < len(rows) < _LEAST_ROWS:
        filled = torch.cat([rows, rows[-1:].expand(_LEAST_ROWS - len(rows), -1)])
        return forward(filled)[: len(rows)]
    return forward(rows)
