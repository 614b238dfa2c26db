"""How near one image is to another, inside a region or outside it."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, UInt8
from torch import Tensor


class Nearness(NamedTuple):
    """Of two images in one region; NaN where it has no pixel.

    Args:
        rmse: root mean square of the difference, in units of [0, 1].
        correlation: of all values once each channel's mean in the region is taken off, in [-1, 1]; NaN where one of
            the images is of one colour there.
    """

    rmse: float
    correlation: float


def nearness(
    image: UInt8[Tensor, "3 height width"],
    other: UInt8[Tensor, "3 height width"],
    region: Bool[Tensor, "height width"],
) -> Nearness:
    """Difference and likeness of two RGB images in a region."""
    if not region.any():
        return Nearness(float("nan"), float("nan"))
    first, second = (pixels.cpu()[:, region.cpu()].double() / 255 for pixels in (image, other))
    rmse = float((first - second).square().mean().sqrt())
    # Asked of the pixels themselves: what their mean leaves of one colour is rounding, not zero.
    if any((values == values[:, :1]).all() for values in (first, second)):
        return Nearness(rmse, float("nan"))
    first, second = (values - values.mean(1, keepdim=True) for values in (first, second))
    spread = torch.sqrt(first.square().sum() * second.square().sum())
    return Nearness(rmse, float((first * second).sum() / spread))
