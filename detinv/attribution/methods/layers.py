"""Which feature layers a method's maps are made from."""

from collections.abc import Sequence

from detinv.attribution.methods.base import PIXELS, PREDICTING
from detinv.detectors.base import AbstractDetector
from detinv.detectors.feature_layers import FeatureLayer, HeadName
from detinv.errors import ConfigError
from detinv.inputs.printable import quoted, suggestion


def chosen_layers(
    detector: AbstractDetector, wanted: Sequence[str | int], head: HeadName
) -> list[list[FeatureLayer | None]]:
    """Return, for each wanted layer, the layers it may be; None stands for the pixels.

    That is one layer, except for the level that predicted an object, which may be any of the head's levels.

    Raises:
        ConfigError: for a layer that the detector does not have, naming those it has.
    """
    return [_chosen(detector, one, head) for one in wanted]


def _chosen(detector: AbstractDetector, wanted: str | int, head: HeadName) -> list[FeatureLayer | None]:
    if wanted == PIXELS:
        return [None]
    if wanted == PREDICTING:
        return list(detector.level_layers(head))
    layers = detector.feature_layers()
    if isinstance(wanted, int):
        maps = [layer for layer in layers if layer.stride is not None and not layer.per_region]
        exact = [layer for layer in maps if layer.stride == wanted]
        if not exact:
            # A network without this stride: the nearest one that is not coarser, otherwise the nearest.
            finer = [layer for layer in maps if layer.stride is not None and layer.stride < wanted]
            nearest = max(finer, key=_stride) if finer else min(maps, key=_stride, default=None)
            exact = [] if nearest is None else [layer for layer in maps if layer.stride == nearest.stride]
        if exact:
            return [exact[0]]
    for layer in layers:
        if layer.name == wanted:
            return [layer]
    names = [layer.name for layer in layers]
    if not names:
        raise ConfigError(
            f"layers={quoted(wanted)}: this detector has no feature layer, as none of its modules returns a feature "
            f"map; let its feature_layers() declare some, or choose a method of the {PIXELS}, such as occlusion"
        )
    raise ConfigError(
        f"layers={quoted(wanted)}: this detector has {', '.join(names)}, besides {PIXELS} and {PREDICTING}"
        f"{suggestion(wanted, names)}"
    )


def _stride(layer: FeatureLayer) -> int:
    assert layer.stride is not None
    return layer.stride
