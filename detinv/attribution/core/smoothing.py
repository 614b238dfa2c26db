"""Gaussian smoothing of maps."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def smoothed(maps: Float[Tensor, "map height width"], sigma: float) -> Float[Tensor, "map height width"]:
    """Smooth maps with a Gaussian; beyond their edges the outermost values continue.

    Args:
        sigma: standard deviation in cells, cut off at three of them; 0 changes nothing.
    """
    if sigma <= 0:
        return maps
    radius = max(1, round(3 * sigma))
    offsets = torch.arange(-radius, radius + 1, dtype=maps.dtype, device=maps.device)
    kernel = torch.exp(-offsets.square() / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    spread = F.pad(maps[:, None], (radius, radius, radius, radius), mode="replicate")
    return F.conv2d(F.conv2d(spread, kernel[None, None, :, None]), kernel[None, None, None, :])[:, 0]
