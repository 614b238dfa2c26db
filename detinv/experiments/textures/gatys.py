"""Style transfer by the features of VGG-19: an image with the content of one and the texture of another is sought."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from detinv.errors import ConfigError
from detinv.experiments.textures.vgg import VGGFeatures
from detinv.runtime.devices import usable_device
from detinv.zoo.weights import weight_hash

CONTENT = "conv4_2"
STYLE = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
# Of VGG-19 up to conv5_1: four poolings.
_LEAST_SIDE = 16
_HISTORY = 20


class StyleTransfer:
    """The whole image with the texture of the style image; all its objects share the one result.

    Colours change too: they are part of what Gram matrices hold.

    Args:
        weights: of VGG-19, see `VGGFeatures`.
        content_share: weight of the content loss where the style loss has 1.
        steps: optimiser steps; for L-BFGS, iterations at most.
        optimizer: "lbfgs" or "adam".
        lr: step size of Adam, in pixel units of [0, 1].
        device: where it runs; results differ a little between devices.

    Raises:
        ConfigError: for weights that are not at hand and unusable options.
        DetectorError: for a file of weights that is broken or of another network.

    Source: Gatys et al. 2016, section 2; section G.8 of the method.
    Departures: the search starts at the content image, not at noise, so that an image depends on its style alone;
        pooling takes maxima, as torchvision's weights expect; a style image of another size than the content is
        compared by Gram matrices per pixel, which for one size is the published formula.
    """

    def __init__(
        self,
        weights: str = "IMAGENET1K_V1",
        content_share: float = 1e-3,
        steps: int = 300,
        optimizer: str = "lbfgs",
        lr: float = 0.02,
        device: str = "cpu",
    ) -> None:
        if content_share < 0:
            raise ConfigError(f"experiment.texture.content_share={content_share}: choose 0 or more")
        if steps < 1:
            raise ConfigError(f"experiment.texture.steps={steps}: choose at least 1")
        if optimizer not in ("lbfgs", "adam"):
            raise ConfigError(f"experiment.texture.optimizer={optimizer}: choose lbfgs or adam")
        if not lr > 0:
            raise ConfigError(f"experiment.texture.lr={lr}: choose a number above 0")
        self.device = usable_device(device)
        self.weights = weights
        self.content_share = content_share
        self.steps = steps
        self.optimizer = optimizer
        self.lr = lr
        self.network = VGGFeatures(weights).to(self.device)

    def __call__(
        self,
        image: UInt8[Tensor, "3 height width"],
        masks: Bool[Tensor, "object height width"],
        style: UInt8[Tensor, "3 _ _"],
        generator: torch.Generator,
    ) -> UInt8[Tensor, "object 3 height width"]:
        """See `TextureMethod`; nothing is random.

        Raises:
            ConfigError: when an image has a side below 16 pixels, which the network pools to nothing.
        """
        if min(*image.shape[1:], *style.shape[1:]) < _LEAST_SIDE:
            raise ConfigError(f"style transfer needs images with sides of at least {_LEAST_SIDE} pixels")
        transferred = self.transfer(_pixels(image).to(self.device), _pixels(style).to(self.device))
        found = (transferred[0] * 255).round().clamp(0, 255).to(torch.uint8).to(image.device)
        return found.expand(len(masks), -1, -1, -1)

    def transfer(
        self, content: Float[Tensor, "1 3 height width"], style: Float[Tensor, "1 3 _ _"]
    ) -> Float[Tensor, "1 3 height width"]:
        """Search the image; content, style and result are RGB in [0, 1]."""
        with torch.no_grad():
            own = self.network(content, (CONTENT,))[CONTENT]
            grams = {name: gram(features) for name, features in self.network(style, STYLE).items()}
        pixels = content.clone().requires_grad_()

        def loss() -> Tensor:
            features = self.network(pixels, (*STYLE, CONTENT))
            style_loss = sum(
                (layer_style_loss(features[name], wanted) / len(STYLE) for name, wanted in grams.items()),
                start=pixels.new_zeros(()),
            )
            return self.content_share * content_loss(features[CONTENT], own) + style_loss

        with torch.enable_grad():
            self._minimise(loss, pixels)
        return pixels.detach().clamp(0, 1)

    def _minimise(self, loss: Callable[[], Tensor], pixels: Tensor) -> None:
        chosen: torch.optim.Optimizer
        if self.optimizer == "adam":
            chosen, calls = torch.optim.Adam([pixels], self.lr), self.steps
        else:
            chosen, calls = (
                torch.optim.LBFGS(
                    [pixels], max_iter=self.steps, history_size=_HISTORY, line_search_fn="strong_wolfe",
                    tolerance_grad=0.0, tolerance_change=0.0,
                ),
                1,
            )  # fmt: skip

        def closure() -> float:
            chosen.zero_grad()
            value = loss()
            value.backward()
            return float(value.detach())

        for _ in range(calls):
            chosen.step(closure)

    def describe(self) -> str:
        how = "L-BFGS" if self.optimizer == "lbfgs" else f"Adam (lr {self.lr:g})"
        return (
            f"style transfer of Gatys et al. 2016, VGG-19 {self.weights} ({weight_hash(self.network)}), content weighs "
            f"{self.content_share:g} of style, {self.steps} steps of {how} from the image itself"
        )


def gram(features: Float[Tensor, "1 channel _ _"]) -> Float[Tensor, "channel channel"]:
    """Compute the inner products of all pairs of channels, divided by the number of places."""
    flat = features[0].flatten(1)
    return flat @ flat.T / flat.shape[1]


def content_loss(
    features: Float[Tensor, "1 channel height width"], wanted: Float[Tensor, "1 channel height width"]
) -> Float[Tensor, ""]:
    """Compute half the sum of squared differences.

    Source: Gatys et al. 2016, equation 1.
    """
    return 0.5 * (features - wanted).square().sum()


def layer_style_loss(
    features: Float[Tensor, "1 channel _ _"], wanted: Float[Tensor, "channel channel"]
) -> Float[Tensor, ""]:
    """Sum the squared differences of the Gram matrices, divided by 4 C^2 N^2 for C channels and N places.

    Args:
        wanted: the style's `gram`, which is divided by its N already.

    Source: Gatys et al. 2016, equation 4.
    """
    return (gram(features) - wanted).square().sum() / (4 * features.shape[1] ** 2)


def _pixels(image: UInt8[Tensor, "3 height width"]) -> Float[Tensor, "1 3 height width"]:
    return image[None].float() / 255
