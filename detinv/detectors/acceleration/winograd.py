"""3 x 3 convolutions with a quarter of the multiplications, on the CPU.

A tile of 4 x 4 outputs hangs on 6 x 6 inputs. Read as polynomials and taken at six points each way, a tile costs one
product a point, 36 instead of 144. Nothing is approximated; in single precision the result is rounded about five times
as coarsely as the library's: by some 1e-6 of what the layer gives, instead of 2e-7.

Source: Lavin and Gray 2016, "Fast algorithms for convolutional neural networks", F(4 x 4, 3 x 3).
Departures: the points are 0, infinity and plus or minus 1/sqrt(2) and sqrt(2), where theirs have 1 and 2: half the
error. With each point its inverse is there, so a kernel and the same one turned round, which the gradient needs, share
one transform.
"""

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_OUT, _KERNEL = 4, 3
_IN = _OUT + _KERNEL - 1
_POINTS = (0.0, 0.5**0.5, -(0.5**0.5), 2**0.5, -(2**0.5))  # and infinity, last
# Of each point, where its inverse stands; and its square, or 1 for zero and infinity.
_INVERSES = (5, 3, 4, 1, 2, 0)
_SQUARES = (1.0, 0.5, 0.5, 2.0, 2.0, 1.0)
# What is saved grows with the product of the channels, preparing it with their sum: with 128 of both kinds it pays.
_LEAST_SAVED = 64
# With fewer tiles in an image, or products of tiles and channels, calling so many functions costs more than it saves.
_LEAST_TILES, _LEAST_PRODUCTS = 16, 400_000
# Tiles that are dealt with at once: more would not stay in the processor's cache.
_AT_ONCE = 320


class WinogradConv2d(nn.Conv2d):
    """A convolution with frozen weights that goes the short way where there is one: see `is_short`.

    Args:
        ordinary: the same convolution; its parameters are shared.
    """

    def __init__(self, ordinary: nn.Conv2d) -> None:
        super().__init__(ordinary.in_channels, ordinary.out_channels, _KERNEL, padding=1, device="meta")
        self.weight, self.bias = ordinary.weight, ordinary.bias
        self.train(ordinary.training)
        self._transformed: Tensor | None = None

    @staticmethod
    def suits(layer: nn.Conv2d) -> bool:
        """Whether a layer can be replaced by one of this class, and is worth it."""
        inputs, outputs = layer.in_channels, layer.out_channels
        return (
            type(layer) is nn.Conv2d
            and layer.kernel_size == (_KERNEL, _KERNEL)
            and layer.stride == layer.padding == layer.dilation == (1, 1)
            and layer.groups == 1
            and layer.padding_mode == "zeros"
            and inputs * outputs >= _LEAST_SAVED * (inputs + outputs)
        )

    def is_short(self, images: Tensor) -> bool:
        """Whether images are large enough, on the CPU and in full precision; however many there are of them."""
        height, width = images.shape[-2:]
        tiles = -(-height // _OUT) * -(-width // _OUT)
        return (
            images.device.type == "cpu"
            and images.ndim == 4
            and images.dtype == self.weight.dtype
            and images.dtype in (torch.float32, torch.float64)
            and not torch.is_autocast_enabled("cpu")
            and not self.weight.requires_grad
            and tiles >= _LEAST_TILES
            and tiles * self.in_channels * self.out_channels >= _LEAST_PRODUCTS
        )

    def forward(self, input: Tensor) -> Tensor:
        if not self.is_short(input):
            return super().forward(input)
        if self._transformed is None or self._transformed.dtype != input.dtype:
            # Threads may come here at once; they compute the same.
            self._transformed = transformed(self.weight)
        return _Convolution.apply(input, self._transformed, self.bias)


@torch.no_grad()
def transformed(weight: Float[Tensor, "out_channel in_channel 3 3"]) -> Float[Tensor, "36 in_channel out_channel"]:
    """The kernels at all pairs of points; computed in float64, given in their own precision."""
    kernels = weight.double().flatten(2).permute(2, 1, 0)
    points = _evaluation(_KERNEL)
    pairs = torch.kron(points, points).to(weight.device) @ kernels.flatten(1)
    return pairs.unflatten(1, kernels.shape[1:]).to(weight.dtype)


class _Convolution(torch.autograd.Function):
    """Its gradient to the images is the convolution with the kernels turned round; weights have none."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, kernels: Tensor, bias: Tensor | None) -> Tensor:
        ctx.kernels = kernels
        found = _convolve(images, kernels, turned=False)
        # A copy in any case: what follows may work in place, which autograd does not let a view's owner do.
        return found.clone() if bias is None else found + bias[:, None, None]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, None]:
        if not ctx.needs_input_grad[0]:
            return None, None, None
        return _convolve(gradient, ctx.kernels.transpose(1, 2), turned=True), None, None


def _convolve(
    images: Float[Tensor, "batch in_channel height width"],
    kernels: Float[Tensor, "36 in_channel out_channel"],
    *,
    turned: bool,
) -> Float[Tensor, "batch out_channel height width"]:
    """Channels come last in memory, also in the result. Each image is dealt with alone.

    A tile of nothing but zeros gives zeros, for nothing: most of a loss's gradient to a head's output, when few of its
    rows are compared with anything.

    Args:
        turned: whether the kernels count as turned by half a turn.
    """
    (batch, channels, height, width), outputs = images.shape, kernels.shape[2]
    rows, columns = -(-height // _OUT), -(-width // _OUT)
    spread, gather = _tables(images.dtype, turned=turned)
    padded = F.pad(images.permute(0, 2, 3, 1), (0, 0, 1, _OUT * columns + 1 - width, 1, _OUT * rows + 1 - height))
    whole = images.new_zeros(batch, _OUT * rows, _OUT * columns, outputs)
    sources, targets = _squares(rows, columns, padded.shape[2], _IN), _squares(rows, columns, _OUT * columns, _OUT)
    alive = (padded.amax(3) != 0) | (padded.amin(3) != 0)
    windows = alive.unfold(1, _IN, _OUT).unfold(2, _IN, _OUT).flatten(3).any(3).flatten(1)
    for number in range(batch):
        pixels, found = padded[number].flatten(0, 1), whole[number].flatten(0, 1)
        for tiles in windows[number].nonzero()[:, 0].split(_AT_ONCE):
            here = pixels.index_select(0, sources[:, tiles].flatten())
            values = (spread @ here.view(_IN**2, -1)).view(_IN**2, -1, channels)
            products = torch.bmm(values, kernels).view(_IN**2, -1)
            found.index_copy_(0, targets[:, tiles].flatten(), (gather @ products).view(-1, outputs))
    return whole[:, :height, :width].permute(0, 3, 1, 2)


def _squares(rows: int, columns: int, width: int, side: int) -> Int64[Tensor, "place tile"]:
    """Where the places of every tile, squares of `side`, lie in an image of `width`, row by row."""
    corners = _OUT * (torch.arange(rows)[:, None] * width + torch.arange(columns)).flatten()
    within = (torch.arange(side)[:, None] * width + torch.arange(side)).flatten()
    return within[:, None] + corners


@cache
def _tables(dtype: torch.dtype, *, turned: bool) -> tuple[Float[Tensor, "36 36"], Float[Tensor, "16 36"]]:
    """From tiles of inputs to their values at all pairs of points, and from products back to tiles of outputs.

    Args:
        turned: whether the kernels shall count as turned by half a turn. A reversed polynomial is, at every point, the
            polynomial at the inverse point times the square of the point.
    """
    spread, gather = torch.linalg.inv(_evaluation(_IN)).T, _evaluation(_OUT).T
    if turned:
        order = list(_INVERSES)
        spread, gather = (torch.tensor(_SQUARES, dtype=torch.float64)[:, None] * spread)[order], gather[:, order]
    return torch.kron(spread, spread).to(dtype), torch.kron(gather, gather).to(dtype)


def _evaluation(count: int) -> Float[Tensor, "6 {count}"]:
    """From `count` coefficients of a polynomial to its values at the points; at infinity, the last coefficient."""
    powers = torch.tensor(_POINTS, dtype=torch.float64)[:, None] ** torch.arange(count, dtype=torch.float64)
    last = torch.zeros(1, count, dtype=torch.float64)
    last[0, -1] = 1
    return torch.cat([powers, last])
