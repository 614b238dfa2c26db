"""The sum of powers of the pixels."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from detinv.inputs.ranges import check_range
from detinv.inversion.regularisers.base import AbstractRegulariser


def alpha_norm(pixels: Float[Tensor, "batch 3 height width"], exponent: float = 6.0) -> Float[Tensor, " batch"]:
    """Sum |pixel| raised to `exponent` over all pixels and channels.

    Args:
        pixels: centred RGB, zero being the detector's mean colour; padding that is zero adds nothing.
        exponent: at least 1: below, the gradient at the mean colour is infinite.

    Returns:
        One sum per image, not divided by its area: weights do not carry over between image sizes.

    Raises:
        ValueError: for an exponent below 1.

    Source: paper, section 4 ("p-norm"), after Simonyan et al. 2013. Departures: the absolute value is taken first; the
    published code raises negative numbers to the power.
    """
    if not exponent >= 1:
        raise ValueError(f"exponent must be at least 1, got {exponent}")
    return pixels.abs().pow(exponent).sum((1, 2, 3))


@dataclass(frozen=True)
class AlphaNorm(AbstractRegulariser):
    """`alpha_norm` as a regulariser.

    Args:
        weight: see `AbstractRegulariser`.
        exponent: see `alpha_norm`.
    """

    exponent: float = 6.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "exponent", least=1)

    def __call__(
        self, pixels: Float[Tensor, "batch 3 height width"], mask: Float[Tensor, "batch 1 height width"]
    ) -> Float[Tensor, " batch"]:
        return alpha_norm(pixels * mask, self.exponent)
