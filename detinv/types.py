"""Shape aliases. Axis words: batch channel height width anchor box class object."""

from jaxtyping import Float
from torch import Tensor

Pixels = Float[Tensor, "batch 3 height width"]
"""RGB in [0, 1]."""

Inputs = Float[Tensor, "batch 3 height width"]
"""What a network's first layer receives."""

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
"""Lightning's precisions in which a network runs without being converted itself."""


def canonical_precision(precision: object) -> str:
    """Give a precision the one name that `PRECISIONS` has for it: Lightning also takes 32 and "32" for "32-true"."""
    return "32-true" if str(precision) == "32" else str(precision)
