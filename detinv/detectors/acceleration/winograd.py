"""3 x 3 convolutions with a quarter of the multiplications, on the CPU.

A tile of 4 x 4 outputs depends on 6 x 6 inputs. With both taken as polynomials and evaluated at six points in each
direction, a tile costs one product for each point, 36 instead of 144. Nothing is approximated; in single precision the
rounding error is about five times the library's: some 1e-6 of the layer's output, instead of 2e-7.

Source: Lavin and Gray 2016, "Fast algorithms for convolutional neural networks", F(4 x 4, 3 x 3).
Departures: the points are 0, infinity and plus or minus 1/sqrt(2) and sqrt(2), where theirs have 1 and 2: half the
error. The inverse of each point is a point too, so a kernel and its rotation by 180 degrees, which the gradient needs,
share one transform.
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
# For each point, the index of its inverse; and its square, or 1 for zero and infinity.
_INVERSES = (5, 3, 4, 1, 2, 0)
_SQUARES = (1.0, 0.5, 0.5, 2.0, 2.0, 1.0)
# The saving grows with the product of the channels, the overhead with their sum: from 128 of both on it pays.
_LEAST_SAVED = 64
# With fewer tiles in an image, or products of tiles and channels, the overhead of calls exceeds the saving.
_LEAST_TILES, _LEAST_PRODUCTS = 16, 400_000
# Tiles processed at once, of one image and of several: more would not stay in the processor's cache.
_AT_ONCE, _AT_ONCE_TOGETHER = 320, 128


class WinogradConv2d(nn.Conv2d):
    """A convolution with frozen weights that uses Winograd's algorithm where it is faster: see `is_short`.

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
        """Tell whether a layer can be replaced by one of this class, and whether that saves time."""
        return (
            type(layer) is nn.Conv2d
            and layer.stride == layer.padding == layer.dilation == (1, 1)
            and layer.groups == 1
            and layer.padding_mode == "zeros"
            and saves_time(layer.weight)
        )

    def is_short(self, images: Tensor) -> bool:
        """Tell whether images are large enough, on the CPU and in full precision; their number does not matter."""
        return is_short(images, self.weight, _LEAST_TILES)

    def forward(self, input: Tensor) -> Tensor:
        if not self.is_short(input):
            return super().forward(input)
        if self._transformed is None or self._transformed.dtype != input.dtype:
            # Several threads may do this at once; they compute the same.
            self._transformed = transformed(self.weight)
        return convolved(input, self._transformed, self.bias)


def saves_time(weight: Tensor) -> bool:
    """Tell whether kernels, (out_channel, in_channel, height, width), are of the right size, and enough of them."""
    outputs, inputs = weight.shape[:2]
    return tuple(weight.shape[2:]) == (_KERNEL, _KERNEL) and inputs * outputs >= _LEAST_SAVED * (inputs + outputs)


def is_short(images: Tensor, weight: Tensor, least_tiles: int) -> bool:
    """Tell whether images are large enough for kernels that save time, on the CPU and in full precision.

    The number of images does not matter.

    Args:
        least_tiles: of an image.
    """
    height, width = images.shape[-2:]
    tiles = -(-height // _OUT) * -(-width // _OUT)
    return (
        images.device.type == "cpu"
        and images.ndim == 4
        and images.dtype == weight.dtype
        and images.dtype in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled("cpu")
        and not weight.requires_grad
        and tiles >= least_tiles
        and tiles * weight.shape[0] * weight.shape[1] >= _LEAST_PRODUCTS
    )


def convolved(
    images: Float[Tensor, "batch in_channel height width"],
    kernels: Float[Tensor, "36 in_channel out_channel"],
    bias: Float[Tensor, " out_channel"] | None,
) -> Float[Tensor, "batch out_channel height width"]:
    """Convolve images with kernels that were `transformed`; stride and padding are 1."""
    return _Convolution.apply(images, kernels, bias)


@torch.no_grad()
def transformed(weight: Float[Tensor, "out_channel in_channel 3 3"]) -> Float[Tensor, "36 in_channel out_channel"]:
    """Evaluate kernels at all pairs of points, in float64; returned in their own precision."""
    kernels = weight.double().flatten(2).permute(2, 1, 0)
    points = _evaluation(_KERNEL)
    pairs = torch.kron(points, points).to(weight.device) @ kernels.flatten(1)
    return pairs.unflatten(1, kernels.shape[1:]).to(weight.dtype)


class _Convolution(torch.autograd.Function):
    """Its gradient with respect to the images is the convolution with the rotated kernels; weights have none."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, kernels: Tensor, bias: Tensor | None) -> Tensor:
        ctx.kernels = kernels
        found = _convolve(images, kernels, turned=False)
        # Always a copy: later layers may work in place, which autograd forbids on a view that a function returns.
        return found.clone() if bias is None else found + bias[:, None, None]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, None]:
        if not ctx.needs_input_grad[0]:
            return None, None, None
        return _Gradient.apply(gradient, ctx.kernels), None, None


class _Gradient(torch.autograd.Function):
    """The gradient of the images; several gradients of the same images, under `torch.vmap`, share their products."""

    @staticmethod
    def forward(gradient: Tensor, kernels: Tensor) -> Tensor:
        return _convolve(gradient, kernels.transpose(1, 2), turned=True)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing is kept: it is not derived again."""

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int, None], gradient: Tensor, kernels: Tensor) -> tuple[Tensor, int]:
        together = gradient.movedim(in_dims[0], 0).flatten(0, 1)
        found = _convolve(together, kernels.transpose(1, 2), turned=True, alone=False)
        return found.unflatten(0, (info.batch_size, -1)), 0


def _convolve(
    images: Float[Tensor, "batch in_channel height width"],
    kernels: Float[Tensor, "36 in_channel out_channel"],
    *,
    turned: bool,
    alone: bool = True,
) -> Float[Tensor, "batch out_channel height width"]:
    """Convolve images; channels are last in memory, also in the result.

    Tiles of nothing but zeros are skipped: they are most of a loss's gradient with respect to a head's output, when few
    of its rows are compared with targets.

    Args:
        turned: whether the kernels count as rotated by 180 degrees.
        alone: whether each image is convolved by itself, so that its last bits do not depend on the others. Tiles of
            several images together take less time.
    """
    (batch, channels, height, width), outputs = images.shape, kernels.shape[2]
    rows, columns = -(-height // _OUT), -(-width // _OUT)
    spread, gather = _tables(images.dtype, turned=turned)
    padded = F.pad(images.permute(0, 2, 3, 1), (0, 0, 1, _OUT * columns + 1 - width, 1, _OUT * rows + 1 - height))
    whole = images.new_zeros(batch, _OUT * rows, _OUT * columns, outputs)
    sources, targets = _squares(rows, columns, padded.shape[2], _IN), _squares(rows, columns, _OUT * columns, _OUT)
    alive = (padded.amax(3) != 0) | (padded.amin(3) != 0)
    windows = alive.unfold(1, _IN, _OUT).unfold(2, _IN, _OUT).flatten(3).any(3).flatten(1)
    pixels, found = padded.flatten(0, 2), whole.flatten(0, 2)
    area, found_area = len(pixels) // max(batch, 1), len(found) // max(batch, 1)
    living = windows.nonzero()
    for part in living.split(windows.sum(1).tolist() if alone else len(living)):
        for number, tiles in (one.unbind(1) for one in part.split(_AT_ONCE if alone else _AT_ONCE_TOGETHER)):
            here = pixels.index_select(0, (sources[:, tiles] + area * number).flatten())
            values = (spread @ here.view(_IN**2, -1)).view(_IN**2, -1, channels)
            products = torch.bmm(values, kernels).view(_IN**2, -1)
            where = (targets[:, tiles] + found_area * number).flatten()
            found.index_copy_(0, where, (gather @ products).view(-1, outputs))
    return whole[:, :height, :width].permute(0, 3, 1, 2)


def _squares(rows: int, columns: int, width: int, side: int) -> Int64[Tensor, "place tile"]:
    """Indices of the pixels of every tile, a square of `side`, in an image of `width`, row by row."""
    corners = _OUT * (torch.arange(rows)[:, None] * width + torch.arange(columns)).flatten()
    within = (torch.arange(side)[:, None] * width + torch.arange(side)).flatten()
    return within[:, None] + corners


@cache
def _tables(dtype: torch.dtype, *, turned: bool) -> tuple[Float[Tensor, "36 36"], Float[Tensor, "16 36"]]:
    """Matrices from tiles of inputs to their values at all pairs of points, and from products to tiles of outputs.

    Args:
        turned: whether the kernels count as rotated by 180 degrees. A reversed polynomial is, at every point, the
            polynomial at the inverse point times the square of the point.
    """
    spread, gather = torch.linalg.inv(_evaluation(_IN)).T, _evaluation(_OUT).T
    if turned:
        order = list(_INVERSES)
        spread, gather = (torch.tensor(_SQUARES, dtype=torch.float64)[:, None] * spread)[order], gather[:, order]
    return torch.kron(spread, spread).to(dtype), torch.kron(gather, gather).to(dtype)


def _evaluation(count: int) -> Float[Tensor, "6 {count}"]:
    """Matrix from `count` coefficients of a polynomial to its values at the points; the last one at infinity."""
    powers = torch.tensor(_POINTS, dtype=torch.float64)[:, None] ** torch.arange(count, dtype=torch.float64)
    last = torch.zeros(1, count, dtype=torch.float64)
    last[0, -1] = 1
    return torch.cat([powers, last])
