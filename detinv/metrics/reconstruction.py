"""How similar two images are in a region."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, UInt8
from torch import Tensor


class ImageSimilarity(NamedTuple):
    """ImageSimilarity of two images in one region; NaN if it has no pixel.

    Args:
        rmse: root mean square of the difference, in units of [0, 1].
        correlation: of all values after subtracting each channel's mean in the region, in [-1, 1]; NaN if one of the
            images is of one colour there.
    """

    rmse: float
    correlation: float


def image_similarity(
    image: UInt8[Tensor, "3 height width"],
    other: UInt8[Tensor, "3 height width"],
    region: Bool[Tensor, "height width"],
) -> ImageSimilarity:
    """Return the difference and the correlation of two RGB images in a region."""
    if not region.any():
        return ImageSimilarity(float("nan"), float("nan"))
    first, second = (pixels.cpu()[:, region.cpu()].double() / 255 for pixels in (image, other))
    rmse = float((first - second).square().mean().sqrt())
    # Tested before the mean is subtracted, which leaves rounding errors of one colour instead of zeros.
    if any((values == values[:, :1]).all() for values in (first, second)):
        return ImageSimilarity(rmse, float("nan"))
    first, second = (values - values.mean(1, keepdim=True) for values in (first, second))
    spread = torch.sqrt(first.square().sum() * second.square().sum())
    return ImageSimilarity(rmse, float((first * second).sum() / spread))
