"""Total variation."""

import kornia
from jaxtyping import Float
from torch import Tensor


def total_variation(pixels: Float[Tensor, "batch 3 height width"], exponent: float = 2.0) -> Float[Tensor, " batch"]:
    """Neighbour differences raised to `exponent`, summed over channels and both axes.

    Args:
        pixels: centred RGB; only differences count.
        exponent: positive; 1 is kornia's own total variation.

    Returns:
        One sum per image: the weight of the term does not carry over between image sizes.

    Source: paper, section 4, after Mahendran & Vedaldi 2015. Departures: anisotropic, as in the published code, which
    is the same thing at exponent 2.
    """
    if exponent <= 0:
        raise ValueError(f"exponent must be positive, got {exponent}")
    if exponent == 1:
        # kornia gives one value per channel.
        return kornia.losses.total_variation(pixels, reduction="sum").sum(1)
    across = (pixels[..., :, 1:] - pixels[..., :, :-1]).abs().pow(exponent)
    down = (pixels[..., 1:, :] - pixels[..., :-1, :]).abs().pow(exponent)
    return across.sum((1, 2, 3)) + down.sum((1, 2, 3))
