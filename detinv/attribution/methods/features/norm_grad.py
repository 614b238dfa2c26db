"""How strongly a virtual convolution at each place would be trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from detinv.attribution.methods.base import PREDICTING, ActivationMethod
from detinv.errors import ConfigError


@dataclass(frozen=True)
class NormGrad(ActivationMethod):
    """NormGrad: the norm of the gradient that the weights of a virtual layer at this place would get. It has no sign.

    Args:
        layers, smoothing: see `ActivationMethod`.
        virtual: "convolution", 1x1, whose norm is that of A times that of G; "scaling", the norm of A * G; or "bias",
            the norm of G.
        centred: whether each channel's mean over the image is subtracted from A, so that what is the same everywhere
            does not count.

    Source: Rebuffi et al. 2020, "There and Back Again: Revisiting Backpropagation Saliency Methods", section 3.

    Departures: `centred` is ours.
    """

    layers: Sequence[str | int] = (PREDICTING,)
    smoothing: float = 0.0
    virtual: Literal["convolution", "scaling", "bias"] = "convolution"
    centred: bool = False

    def __post_init__(self) -> None:
        if self.virtual not in ("convolution", "scaling", "bias"):
            raise ConfigError(f"virtual={self.virtual}: choose convolution, scaling or bias")

    def layer_map(self, features: Tensor, gradients: Tensor, boxes: Tensor) -> Tensor:
        if self.centred:
            features = features - features.mean((2, 3), keepdim=True)
        if self.virtual == "convolution":
            return _norm(gradients) * _norm(features)
        return _norm(gradients * features if self.virtual == "scaling" else gradients)


def _norm(values: Float[Tensor, "image channel height width"]) -> Float[Tensor, "image height width"]:
    """Return the norm over channels, in half the time that `Tensor.norm` takes along an axis that is not the last."""
    return values.square().sum(1).sqrt()
