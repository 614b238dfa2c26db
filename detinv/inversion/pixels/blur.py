"""Gaussian blur of images of different sizes on one canvas."""

from functools import lru_cache

import torch
from jaxtyping import Float, Int64
from kornia.filters import filter2d_separable
from torch import Tensor

from detinv.inputs.torch_settings import sent


@lru_cache(maxsize=256)
def gaussian_kernel(sigma: float, device: torch.device | None = None) -> Float[Tensor, "1 taps"]:
    """Sample a normalised Gaussian of radius int(4 sigma + 0.5), as scipy.ndimage truncates it.

    Computed in float64 on the CPU, because Apple's GPUs have no float64, then moved to `device` as float32 without
    waiting for it; kernels are cached. kornia's kernel is not used because it is computed at half-integer positions for
    even sizes and takes the radius from the caller; the published blur is scipy's.
    """
    radius = int(4 * sigma + 0.5)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = (weights / weights.sum())[None].float()
    return kernel if device is None else sent(kernel, device)


def gaussian_blur(
    images: Float[Tensor, "batch channel height width"],
    sigma: float,
    image_sizes: Int64[Tensor, "sizes 2"],
) -> Float[Tensor, "batch channel height width"]:
    """Blur each image within its own size, mirrored at its own borders (d c b a | a b c d).

    Args:
        images: each at the upper left of its canvas.
        sigma: in pixels; the kernel may be longer than the image.
        image_sizes: (height, width) of each, or one row for all; what lies beyond it on the canvas is not meaningful
            afterwards.

    Source: scipy.ndimage.gaussian_filter1d with its default border, applied to both axes.
    """
    kernel = gaussian_kernel(sigma, images.device).to(images.dtype)
    radius = kernel.shape[1] // 2
    for axis in (2, 3):
        rows = _mirrored(image_sizes[:, axis - 2], images.shape[axis], radius)
        if len(rows) == 1:
            images = images.index_select(axis, rows[0])
            continue
        shape = [len(images), 1, 1, 1]
        shape[axis] = rows.shape[1]
        expanded = [*images.shape]
        expanded[axis] = rows.shape[1]
        images = images.gather(axis, rows.view(shape).expand(expanded))
    # All images' channels side by side: depthwise convolution is twice as fast over many channels as over three.
    blurred = filter2d_separable(images.flatten(0, 1)[None], kernel, kernel, padding="valid")
    return blurred[0].unflatten(0, images.shape[:2])


def _mirrored(lengths: Int64[Tensor, " batch"], extent: int, radius: int) -> Int64[Tensor, "batch padded"]:
    """Indices -radius ... extent + radius, folded back into 0 ... length - 1 by half-sample reflection."""
    index = torch.arange(-radius, extent + radius, device=lengths.device)
    period = 2 * lengths[:, None]
    folded = index % period
    return torch.minimum(folded, period - 1 - folded)
