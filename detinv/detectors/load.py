"""Detectors by name, built from what their registration describes."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from detinv.config.detectors import detector_node
from detinv.config.folders import config_dir
from detinv.config.instantiate import instantiate, locate
from detinv.detectors.base import AbstractDetector
from detinv.detectors.class_names import read_class_names
from detinv.detectors.colours import COCO_COLOURS, COCO_CONTRAST, checked_colours, checked_contrast
from detinv.errors import DetectorError
from detinv.inputs.numbers import is_count
from detinv.inputs.path_modules import as_written
from detinv.inputs.printable import one_line, quoted
from detinv.inputs.torch_settings import usual_torch
from detinv.zoo.class_columns import ClassColumns
from detinv.zoo.weights import bundled_weights, load_weights, read_metadata

_BUNDLED, RANDOM = "bundled", "random"
_RANDOM_SEED = 0


@usual_torch()
def load_detector(name: str | Path, weights: str | Path | None = None, **options: Any) -> AbstractDetector:
    """Load the detector `name`, frozen, on the CPU.

    Args:
        name: see `detector_node`.
        weights: path of other weights of the same architecture; by default those of the registration.
        options: replace entries of the registration.

    Raises:
        DetectorError: for an unknown name, with the nearest as a suggestion, and for weights that are missing or do not
            fit.
    """
    if not isinstance(name, str | PathLike):
        raise DetectorError(f"expected the name of a detector or the path of a .yaml file, got a {type(name).__name__}")
    node = detector_node(str(name)) | options
    if weights is not None:
        node["weights"] = str(weights)
    return build_detector(node)


@usual_torch()
def build_detector(node: Any) -> AbstractDetector:
    """Build the detector that a registration's entries describe.

    Raises:
        DetectorError: when the target returns anything but a detector, cannot build it, or leaves out an attribute.
    """
    entries = {str(key): value for key, value in node.items()}
    if "members" in entries:
        raise DetectorError(f"{entries['name']}: several detectors at once are for detinv invert; choose one")
    target = entries["_target_"]
    # Not every target has a parameter for the name.
    if "name" not in _parameters(target):
        entries.pop("name", None)
    detector = instantiate(entries)
    if not isinstance(detector, AbstractDetector):
        raise DetectorError(
            f"{as_written(target)} returned a {type(detector).__name__}; it must return an AbstractDetector"
        )
    _check_attributes(detector)
    return detector


def as_detector(given: AbstractDetector | str) -> AbstractDetector:
    """Return the detector that a caller gives, or load the one of that name.

    Raises:
        DetectorError: when it is no detector, leaves out an attribute, is not frozen, has no weights, was converted to
            another type than float32, or built where no gradient can pass it; see `load_detector` for names.
    """
    if isinstance(given, str):
        return load_detector(given)
    name = type(given).__name__
    if not isinstance(given, AbstractDetector):
        wrap = "detinv.detectors.torchvision.fcos.TorchvisionFCOS(model, class_names)"
        raise DetectorError(
            f"detector: expected a name or an AbstractDetector, got a {name}; a library's model has to be wrapped in "
            f"its adapter, such as {wrap}"
        )
    if any(weights.is_inference() for weights in given.parameters()):
        raise DetectorError(
            f"{name} was built within torch.inference_mode(), so that no gradient can pass it; build it outside"
        )
    _check_attributes(given)
    if given.device.type == "meta":
        raise DetectorError(f"{name} is on the device meta, which holds no weights; load it on the CPU or a GPU")
    if given.training or any(weights.requires_grad for weights in given.parameters()):
        raise DetectorError(
            f"{name} is not frozen, so that its weights may change; call freeze() at the end of __init__"
        )
    if given.pixel_mean.dtype != torch.float32:
        raise DetectorError(
            f"{name} was converted to {given.pixel_mean.dtype}; images are float32, so load it again and leave it as "
            "it is (invert takes trainer={'precision': 'bf16-mixed'})"
        )
    return given


def _check_attributes(detector: AbstractDetector) -> None:
    """Check what subclasses set in `__init__`; where it is missing, a later error would be about something else."""
    for name, (fits, expected) in _ATTRIBUTES.items():
        where = f"{type(detector).__name__}: {name}"
        if not hasattr(detector, name):
            raise DetectorError(f"{where} is missing; set it in __init__ to {expected}")
        if not fits(getattr(detector, name)):
            raise DetectorError(f"{where} is {quoted(getattr(detector, name))}; set it to {expected}")


def _are_names(value: object) -> bool:
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        return False
    # Layouts, annotation files and reports go by names.
    return 0 < len(value) == len(set(value))


_ATTRIBUTES: dict[str, tuple[Callable[[object], bool], str]] = {
    "class_names": (_are_names, "the names of the classes, each once"),
    "pixel_mean": (
        lambda value: isinstance(value, torch.Tensor) and value.shape == (3,),
        "red, green and blue in [0, 1], with register_buffer",
    ),
    "size_divisor": (is_count, "a whole number of pixels, at least 1"),
    "detections_per_image": (is_count, "a whole number, at least 1"),
}
"""What an attribute must be, and the same in words."""


def _parameters(target: str) -> set[str]:
    """Return the names of the parameters of `target`; "name" stands for arbitrary keywords."""
    found = inspect.signature(locate(target)).parameters.values()
    return {"name" if parameter.kind is parameter.VAR_KEYWORD else parameter.name for parameter in found}


def assemble_detector(
    name: str,
    adapter: str,
    model: Mapping[str, Any],
    class_names: str | Sequence[str],
    weights: str = _BUNDLED,
    trust_weights: bool = False,
    options: Mapping[str, Any] | None = None,
    trained_on_photographs: bool = True,
    colour_covariance: Sequence[Sequence[float]] | None = None,
    contrast: float | None = None,
) -> AbstractDetector:
    """Build a model, load weights into it and wrap it in its adapter: the target of many files in configs/detector.

    Args:
        name: of the detector and of its bundled weights.
        adapter: dotted path of the adapter's class.
        model: `_target_` and arguments of the function that builds the model.
        class_names: of the classes 0 ... K-1; see `read_class_names`.
        weights: "bundled", "random" for initial weights that are the same every time, or a path.
        trust_weights: whether weights that are a pickle may be opened.
        options: further arguments of the adapter.
        trained_on_photographs: see `AbstractDetector`.
        colour_covariance, contrast: see `AbstractDetector`; None for COCO's.

    Raises:
        DetectorError: when the weights are missing, do not fit, or were trained on other classes; for a
            `colour_covariance` or `contrast` that is none.
    """
    colours = COCO_COLOURS if colour_covariance is None else checked_colours(colour_covariance)
    contrast = COCO_CONTRAST if contrast is None else checked_contrast(contrast)
    names = read_class_names(class_names)
    if not (isinstance(weights, str | Path) and str(weights)):
        raise DetectorError(f"weights={quoted(weights)}: give bundled, random or the path of a file")
    with torch.random.fork_rng(devices=[]):
        # The same random network every time, so that controls can be repeated and their runs resumed.
        torch.manual_seed(_RANDOM_SEED)
        network = instantiate(model)
    if weights != RANDOM:
        _put_weights(network, name, names, weights, trust_weights)
    detector = locate(adapter)(network, names, **(options or {}))
    assert isinstance(detector, AbstractDetector)
    detector.trained_on_photographs = trained_on_photographs
    detector.colour_covariance = colours
    detector.contrast = contrast
    return detector


def _put_weights(network: Any, name: str, class_names: Sequence[str], weights: str, trust_weights: bool) -> None:
    path = bundled_weights(name) if weights == _BUNDLED else Path(weights)
    if weights == _BUNDLED and not path.is_file():
        raise DetectorError(f"{path}: {name}'s weights are missing; {_remedy(name)}")
    # Of the bundled detectors' heads, only a second stage has a column for the background.
    background = int(hasattr(network, "roi_heads"))
    columns = ClassColumns(len(class_names) + background, background)
    load_weights(network, path, trust_weights, columns)
    trained_on = read_metadata(path).get("class_names")
    if trained_on is not None and trained_on != list(class_names):
        raise DetectorError(
            f"{path}: trained on the classes {_listed(trained_on)}, but {name} has {_listed(class_names)}; "
            "give weights of the same classes in the same order"
        )


def _listed(names: Any) -> str:
    return one_line(", ".join(map(str, names)) if isinstance(names, Sequence) else str(names), 200)


def _remedy(name: str) -> str:
    if (config_dir() / "model" / f"{name}.yaml").is_file():
        return f"`detinv train model={name}` makes them"
    return "install detinv again"
