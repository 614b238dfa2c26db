"""The convolutions of VGG-19, and where their weights come from."""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import VGG19_Weights

from detinv.errors import ConfigError
from detinv.types import Pixels
from detinv.zoo.weights import put_weights, read_state

RANDOM = "random"
# Channels of the convolutions of each block; a pooling comes between blocks.
_BLOCKS = ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4)
# torchvision's whole network holds these convolutions under this name.
_PREFIX = "features."
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class VGGFeatures(nn.Module):
    """VGG-19 up to its last convolution, frozen, with torchvision's names of weights.

    Args:
        weights: the name of torchvision's weights ("IMAGENET1K_V1"), which are downloaded unless they are there;
            the path of a state dict, of the whole network or of its convolutions; or "random", which says nothing
            about any image and is for tests.
        seed: of random weights.

    Raises:
        ConfigError: when weights are named that can be neither found nor downloaded.
        DetectorError: when a file of weights is broken or belongs to another network.

    Source: Simonyan and Zisserman 2015, network E.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, weights: str, seed: int = 0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        self._layer_of: dict[str, int] = {}
        channels = 3
        for block, widths in enumerate(_BLOCKS, 1):
            for number, width in enumerate(widths, 1):
                # Empty: drawing start values that are overwritten would take most of the time of loading.
                layers += [nn.utils.skip_init(nn.Conv2d, channels, width, 3, padding=1), nn.ReLU(inplace=False)]
                self._layer_of[f"conv{block}_{number}"] = len(layers) - 1
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.register_buffer("mean", torch.tensor(_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(_STD)[:, None, None], persistent=False)
        if weights == RANDOM:
            self._draw(torch.Generator().manual_seed(seed))
        else:
            put_weights(self.features, _state(weights), weights)
        self.requires_grad_(False)
        self.eval()

    def forward(self, pixels: Pixels, names: tuple[str, ...]) -> dict[str, Float[Tensor, "batch _ _ _"]]:
        """Compute the activations of the named convolutions ("conv4_2"), after their ReLU.

        Args:
            pixels: RGB in [0, 1]; differentiable. Sides of 16 at least.
        """
        wanted = {self._layer_of[name]: name for name in names}
        found: dict[str, Tensor] = {}
        features = (pixels - self.mean) / self.std
        for number, layer in enumerate(self.features[: max(wanted) + 1]):
            features = layer(features)
            if number in wanted:
                found[wanted[number]] = features
        return found

    def _draw(self, generator: torch.Generator) -> None:
        for layer in self.features:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, generator=generator)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


def _state(weights: str) -> dict[str, Tensor]:
    """The convolutions' tensors, by their names among the convolutions."""
    state = _downloaded(weights) if weights in VGG19_Weights.__members__ else read_state(_file(weights))
    if any(key.startswith(_PREFIX) for key in state):
        state = {key.removeprefix(_PREFIX): value for key, value in state.items() if key.startswith(_PREFIX)}
    return state


def _downloaded(name: str) -> dict[str, Tensor]:
    try:
        return dict(VGG19_Weights[name].get_state_dict(progress=False, check_hash=True))
    except (OSError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"experiment.texture.weights={name}: torchvision's VGG-19 cannot be downloaded ({reason}); give the path "
            "of a .pth or .safetensors file of them, or choose a texture that needs none, such as "
            "detinv.experiments.textures.phase.PhaseRandomised"
        ) from error


def _file(weights: str) -> Path:
    path = Path(weights)
    if not path.suffix:
        known = ", ".join(VGG19_Weights.__members__)
        raise ConfigError(
            f"experiment.texture.weights={weights}: neither of torchvision ({known}) nor the path of a .pth or "
            f".safetensors file, nor {RANDOM}"
        )
    return path
