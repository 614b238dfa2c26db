"""Images shifted, mirrored and scaled without interpolation: every pixel shown is a pixel of the image, or zero.

Each image is treated by itself, so that it does not depend on its batch; and gradients go back the same way, a fifth of
the time of what a sampled grid takes.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

Images = Shaped[Tensor, "batch channel height width"]


def shift_images(images: Images, shifts: Sequence[Sequence[int]]) -> Images:
    """Move each image right and down by whole pixels; what comes in is zero. Differentiable.

    Args:
        images: of any type.
        shifts: (right, down) of each image, smaller than its sides.
    """
    return _Shifted.apply(images, shifts)


def scale_images(images: Images, scales: Float[Tensor, "batch 2"], limits: Float[Tensor, "batch 2"]) -> Images:
    """Scale each image about its centre; what comes in is zero. Differentiable.

    Args:
        images: of any type, each at the upper left of its canvas, which keeps its size.
        scales: factors along x and y, not 0; a negative one mirrors as well.
        limits: width and height of each image.
    """
    height, width = images.shape[-2:]
    columns, rows = (_sources(size, scales[:, axis], limits[:, axis]) for axis, size in enumerate((width, height)))
    return _Taken.apply(images, rows, columns)


class _Shifted(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, shifts: Sequence[Sequence[int]]) -> Tensor:
        ctx.back = [[-right, -down] for right, down in shifts]
        return _shifted(images, shifts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _shifted(gradient, ctx.back), None


def _shifted(images: Tensor, shifts: Sequence[Sequence[int]]) -> Tensor:
    height, width = images.shape[-2:]
    moved = torch.zeros_like(images)
    for source, target, (right, down) in zip(images.unbind(0), moved.unbind(0), shifts, strict=True):
        rows, columns = max(height - abs(down), 0), max(width - abs(right), 0)
        top, left = max(down, 0), max(right, 0)
        target[:, top : top + rows, left : left + columns] = source[
            :, top - down : top - down + rows, left - right : left - right + columns
        ]
    return moved


def _sources(size: int, scale: Float[Tensor, " batch"], limit: Float[Tensor, " batch"]) -> Int[Tensor, "batch size"]:
    """Which row or column each one shows; -1 for none."""
    places = torch.arange(size, device=scale.device)
    centre = (limit[:, None] - 1) / 2
    sources = ((places - centre) / scale[:, None] + centre).round()
    shown = (sources >= 0) & (sources < limit[:, None]) & (places < limit[:, None])
    return torch.where(shown, sources, -1).long()


class _Taken(torch.autograd.Function):
    """Rows and columns of each image, in any order; -1 for zeros."""

    @staticmethod
    def forward(
        ctx: Any, images: Tensor, rows: Int[Tensor, "batch height"], columns: Int[Tensor, "batch width"]
    ) -> Tensor:
        ctx.save_for_backward(rows, columns)
        taken = torch.empty_like(images)
        for source, target, row, column in zip(images, taken, rows, columns, strict=True):
            target[:] = source.index_select(1, row.clamp(min=0)).index_select(2, column.clamp(min=0))
        return taken * _shown(rows, columns)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        rows, columns = ctx.saved_tensors
        result = torch.zeros_like(gradient)
        for source, target, row, column in zip(gradient * _shown(rows, columns), result, rows, columns, strict=True):
            spread = torch.zeros_like(source).index_add_(2, column.clamp(min=0), source)
            target.index_add_(1, row.clamp(min=0), spread)
        return result, None, None


def _shown(rows: Tensor, columns: Tensor) -> Tensor:
    return ((rows >= 0)[:, :, None] & (columns >= 0)[:, None])[:, None]
