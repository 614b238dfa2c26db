"""Short hashes of layouts and detectors, by which saved images are recognised."""

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from torch import Size, nn

from detinv import __version__
from detinv.detectors.base import AbstractDetector
from detinv.inputs.fingerprint import LENGTH, settings_hash
from detinv.inputs.own_code import own_code
from detinv.layouts.layout import Layout
from detinv.zoo.weights import weight_hash

# Whatever the detector.
_COMPUTE = frozenset(("torch", "torchvision", "kornia"))
# What every module has; it says nothing about what the module computes.
_OF_EVERY_MODULE = frozenset(vars(nn.Module()))


def layout_hash(layout: Layout) -> str:
    """Hash a layout's objects, masks and size, on whatever device; its id does not count."""
    digest = hashlib.sha256(repr(layout.image_size).encode())
    for tensor in (layout.boxes, layout.labels, layout.masks):
        digest.update(b"none" if tensor is None else tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:LENGTH]


def detector_hash(detector: AbstractDetector) -> str:
    """Hash all that decides what a detector computes: weights, buffers, and class and options of every module.

    A class that is not installed counts with the code of its file, see `settings_hash`.

    Options are plain values, and objects such as box coders whose attributes are plain. Running the detector does not
    change the hash, and neither does moving it to another device.
    """
    # What a class says of itself is in no module's variables.
    described: list[object] = [
        weight_hash(detector),
        detector.trained_on_photographs,
        detector.colour_covariance,
        detector.contrast,
    ]
    for path, module in detector.named_modules():
        options = {
            name: value if _is_plain(value) else [type(value), vars(value)]
            for name, value in vars(module).items()
            if name not in _OF_EVERY_MODULE and _is_option(value)
        }
        # Those that are not saved with the weights, such as the mean colour.
        buffers = dict(module.named_buffers(recurse=False))
        described.append([path, type(module), options, buffers])
    return settings_hash(described)


def detector_code(detector: AbstractDetector) -> str | None:
    """Hash the code of a detector's modules that are not installed, such as an adapter beside its YAML file.

    Returns:
        None where all are installed.
    """
    found = {own_code(type(module).__module__) for module in detector.modules()} - {None}
    return settings_hash(found) if found else None


def packages_of(detectors: Iterable[AbstractDetector]) -> str:
    """List the packages that compute images for these detectors, with their versions; code that is not installed has
    none, see `detector_code`.
    """
    classes = {type(module) for detector in detectors for module in detector.modules()}
    names = {one.__module__.partition(".")[0] for one in classes} | _COMPUTE
    found = {"detinv": __version__}
    for name in names - {"detinv"}:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return ", ".join(f"{name} {found[name]}" for name in sorted(found))


def _is_option(value: object) -> bool:
    """Tell options from what running leaves in attributes: caches, empty at first, and sizes of the last image."""
    if value is None or isinstance(value, Size) or (isinstance(value, Mapping | list | tuple) and not value):
        return False
    return _is_plain(value) or (hasattr(value, "__dict__") and not callable(value) and _is_plain(vars(value)))


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(name, str | int) and _is_plain(item) for name, item in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)
