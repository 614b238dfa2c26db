"""What replaces removed pixels."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from detinv.attribution.core.smoothing import smoothed

Fill = Literal["mean", "black", "blur", "colours"]
# Standard deviation of the blur, as a fraction of the longer side.
_BLUR = 0.05


def filled(
    fill: Fill, canvas: Float[Tensor, "3 height width"], mean: Float[Tensor, " 3"], seed: int
) -> Float[Tensor, "3 height width"]:
    """Return what shows where all pixels are removed.

    Args:
        fill: the detector's "mean" colour, "black", a "blur" of the image, or a random one of the "colours" for each
            pixel.
        canvas: RGB in [0, 1].
        mean: colour that the detector's preprocessing maps to zero.
        seed: of the colours.
    """
    if fill == "mean":
        return mean[:, None, None].expand_as(canvas)
    if fill == "black":
        return torch.zeros_like(canvas)
    if fill == "blur":
        return smoothed(canvas, _BLUR * max(canvas.shape[1:]))
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(canvas.shape, generator=generator).to(canvas)
