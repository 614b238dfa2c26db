"""Where a training starts when it does not start from nothing."""

from torch import nn

from detinv.errors import ConfigError
from detinv.zoo.weights import bundled_weights, read_state

# The layers of the small backbone below its feature pyramid, which all bundled detectors have alike.
_TRUNK = ("backbone.stem.", "backbone.stages.")


def start_from(model: nn.Module, name: str) -> None:
    """Give `model` the backbone, below the feature pyramid, of a bundled detector; all else stays as it is.

    A one-stage head learns fine textures slowly from nothing, but soon on features that tell them apart.

    Args:
        name: of the bundled detector, which should have learnt from the same world.

    Raises:
        DetectorError: when its weights are not there.
        ConfigError: when its backbone is another one.
    """
    state = read_state(bundled_weights(name))
    trunk = {key: value for key, value in state.items() if key.startswith(_TRUNK)}
    own = model.state_dict()
    if set(trunk) != {key for key in own if key.startswith(_TRUNK)} or any(
        value.shape != own[key].shape for key, value in trunk.items()
    ):
        raise ConfigError(f"start={name}: its backbone is not this detector's; choose one of the same architecture")
    model.load_state_dict(trunk, strict=False)
