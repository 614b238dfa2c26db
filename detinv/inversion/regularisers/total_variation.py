"""Total variation."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from detinv.inputs.ranges import check_range
from detinv.inversion.regularisers.base import AbstractRegulariser


def total_variation(
    pixels: Float[Tensor, "batch 3 height width"],
    exponent: float = 2.0,
    mask: Float[Tensor, "batch 1 height width"] | None = None,
) -> Float[Tensor, " batch"]:
    """Sum the differences between neighbouring pixels, raised to `exponent`, over channels and both axes.

    Args:
        pixels: centred RGB; only differences count.
        exponent: at least 1: below, the gradient at equal neighbours is infinite.
        mask: 1 inside each image, 0 on the rest of its canvas; differences across the border do not count. The image
            fills its canvas when not given.

    Returns:
        One sum per image, not divided by its area: weights do not carry over between image sizes.

    Raises:
        ValueError: for an exponent below 1.

    Source: paper, section 4, after Mahendran & Vedaldi 2015. Departures: anisotropic, as in the published code, which
    is the same thing at exponent 2.
    """
    if not exponent >= 1:
        raise ValueError(f"exponent must be at least 1, got {exponent}")
    across = (pixels[..., :, 1:] - pixels[..., :, :-1]).abs().pow(exponent)
    down = (pixels[..., 1:, :] - pixels[..., :-1, :]).abs().pow(exponent)
    if mask is not None:
        # Images lie at the upper left: where the further pixel is inside, its neighbour is as well.
        across, down = across * mask[..., :, 1:], down * mask[..., 1:, :]
    return across.sum((1, 2, 3)) + down.sum((1, 2, 3))


@dataclass(frozen=True)
class TotalVariation(AbstractRegulariser):
    """`total_variation` as a regulariser.

    Args:
        weight: see `AbstractRegulariser`.
        exponent: see `total_variation`.
    """

    exponent: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "exponent", least=1)

    def __call__(
        self, pixels: Float[Tensor, "batch 3 height width"], mask: Float[Tensor, "batch 1 height width"]
    ) -> Float[Tensor, " batch"]:
        return total_variation(pixels, self.exponent, mask)
