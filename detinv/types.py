"""Shape aliases. Axis words: batch channel height width anchor box class object."""

from jaxtyping import Float
from torch import Tensor

Pixels = Float[Tensor, "batch 3 height width"]
"""RGB in [0, 1]."""

Inputs = Float[Tensor, "batch 3 height width"]
"""What a network's first layer receives."""

PRECISIONS = ("32-true", "32", "bf16-mixed", "16-mixed")
"""Of Lightning's, those in which a network can run without being converted itself."""
