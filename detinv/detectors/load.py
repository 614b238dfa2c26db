"""Detectors by name: each YAML file in configs/detector is one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from detinv.configuration import choices, config_dir, instantiate, locate
from detinv.detectors.base import AbstractDetector
from detinv.errors import DetectorError
from detinv.layouts.labels import suggestion
from detinv.zoo.weights import bundled_weights, load_weights, read_metadata

_BUNDLED = "bundled"


def detector_names() -> tuple[str, ...]:
    """Names of all detectors there is a configuration for."""
    return choices(config_dir(), "detector")


def load_detector(name: str, weights: str | Path | None = None) -> AbstractDetector:
    """The detector `name`, frozen, on the CPU.

    Args:
        name: of a file in configs/detector, without its ending.
        weights: path of other weights of the same architecture; by default those the configuration names.

    Raises:
        DetectorError: for a name that is not there, suggesting the nearest, and for weights that are not there or do
            not fit.
    """
    names = detector_names()
    if name not in names:
        raise DetectorError(f"no detector is called {name!r}{suggestion(name, names)} (there are: {', '.join(names)})")
    node = OmegaConf.to_container(OmegaConf.load(config_dir() / "detector" / f"{name}.yaml"), resolve=True)
    assert isinstance(node, dict)
    entries = {str(key): value for key, value in node.items() if not str(key).startswith("_")}
    if weights is not None:
        entries["weights"] = str(weights)
    return assemble_detector(**entries)


def assemble_detector(
    name: str, adapter: str, model: Mapping[str, Any], class_names: Sequence[str], weights: str = _BUNDLED
) -> AbstractDetector:
    """Build a model, put weights into it and hand it to its adapter: the target of the files in configs/detector.

    Args:
        name: of the detector, also of its bundled weights.
        adapter: dotted path of the adapter's class.
        model: `_target_` and arguments of the function that builds the model.
        class_names: of the classes 0 ... K-1.
        weights: "bundled", or a path.

    Raises:
        DetectorError: when the weights are not there, do not fit, or were trained on other classes.
    """
    path = bundled_weights(name) if weights == _BUNDLED else Path(weights)
    if weights == _BUNDLED and not path.is_file():
        raise DetectorError(f"{path}: {name}'s weights are not there; `detinv train training={name}` makes them")
    network = instantiate(model)
    load_weights(network, path)
    trained_on = read_metadata(path).get("class_names")
    if trained_on is not None and list(trained_on) != list(class_names):
        raise DetectorError(
            f"{path}: trained on the classes {', '.join(trained_on)}, but {name} has {', '.join(class_names)}; "
            "give weights of the same classes in the same order"
        )
    detector = locate(adapter)(network, tuple(class_names))
    assert isinstance(detector, AbstractDetector)
    return detector
