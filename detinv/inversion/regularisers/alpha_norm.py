"""The sum of powers of the pixels."""

from jaxtyping import Float
from torch import Tensor


def alpha_norm(pixels: Float[Tensor, "batch 3 height width"], exponent: float = 6.0) -> Float[Tensor, " batch"]:
    """Sum over all pixels and channels of |pixel| to the power `exponent`.

    Args:
        pixels: centred RGB, zero being the detector's mean colour.
        exponent: positive.

    Source: paper, section 4 ("p-norm"), after Simonyan et al. 2013. Departures: the absolute value is taken first; the
    published code raises negative numbers to the power.
    """
    if exponent <= 0:
        raise ValueError(f"exponent must be positive, got {exponent}")
    return pixels.abs().pow(exponent).sum((1, 2, 3))
