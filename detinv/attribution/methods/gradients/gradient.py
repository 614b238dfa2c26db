"""The gradient of the pixels."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from detinv.attribution.methods.base import PIXELS, ActivationMethod


@dataclass(frozen=True)
class Gradient(ActivationMethod):
    """The largest absolute gradient over the three colours of each pixel.

    Args:
        smoothing: see `ActivationMethod`.

    Source: Simonyan et al. 2014, "Deep Inside Convolutional Networks", section 3.1.

    Departures: none.
    """

    layers: Sequence[str | int] = (PIXELS,)
    smoothing: float = 0.0

    def layer_map(self, features: Tensor, gradients: Tensor, boxes: Tensor) -> Tensor:
        return gradients.abs().amax(1)
