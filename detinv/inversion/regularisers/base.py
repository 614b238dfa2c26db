"""What a regulariser is."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from detinv.errors import ConfigError
from detinv.inputs.ranges import check_range


@dataclass(frozen=True)
class AbstractRegulariser(ABC):
    """A prior on images, and its weight in the objective.

    A new one is a subclass that adds its options as fields and defines `__call__`, and a YAML file that names it (see
    docs/extend.md).

    Args:
        weight: factor in the objective, 0 or more; with 0 the regulariser is left out.

    Raises:
        ConfigError: for a weight below 0.
    """

    weight: float = 1.0

    def __post_init__(self) -> None:
        check_range(self, "weight")

    @abstractmethod
    def __call__(
        self, pixels: Float[Tensor, "batch 3 height width"], mask: Float[Tensor, "batch 1 height width"]
    ) -> Float[Tensor, " batch"]:
        """Compute the prior of each image, before weighting.

        Args:
            pixels: centred RGB, that is minus the detector's mean colour; zero on the padding. Differentiable.
            mask: 1 inside each image, 0 on its padding, which must not count.

        Returns:
            One value per image, which depends on no other image of the batch.
        """


def regulariser_terms(
    regularisers: Mapping[str, AbstractRegulariser],
    pixels: Float[Tensor, "batch 3 height width"],
    mask: Float[Tensor, "batch 1 height width"],
) -> dict[str, Float[Tensor, " batch"]]:
    """Compute all regularisers that have a weight, by name; see `AbstractRegulariser.__call__`.

    Raises:
        ConfigError: when one does not give one value per image.
    """
    terms = {name: one(pixels, mask) for name, one in regularisers.items() if one.weight}
    for name, value in terms.items():
        if value.shape != pixels.shape[:1]:
            raise ConfigError(
                f"preset.regularisers.{name}: it gives a tensor of shape {list(value.shape)} for {len(pixels)} images; "
                f"give one value per image, a tensor of shape [{len(pixels)}]"
            )
    return terms
