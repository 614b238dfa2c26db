"""Shape aliases. Axis words: batch channel height width anchor box class object."""

from jaxtyping import Bool, Float, Int
from torch import Tensor

Pixels = Float[Tensor, "batch 3 height width"]
"""RGB in [0, 1]."""

Inputs = Float[Tensor, "batch 3 height width"]
"""What a network's first layer receives."""

BoxesXYXY = Float[Tensor, "*batch 4"]
"""Corners x0, y0, x1, y1 in pixels, continuous coordinates."""

Labels = Int[Tensor, " object"]
"""Contiguous class numbers 0 ... K-1, no background."""

Masks = Bool[Tensor, "object height width"]
