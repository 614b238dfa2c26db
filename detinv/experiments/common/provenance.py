"""What a kept image or value was made from: plain values by name, compared before it is used again.

A provenance names inputs by short hashes of their content, never by a path or a name that may come to stand for
something else. What no hash can cover, the program itself, is there by the versions of the packages involved.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from detinv import __version__
from detinv.detectors.base import AbstractDetector
from detinv.inversion.resume.fingerprint import layout_hash
from detinv.layouts.layout import Layout
from detinv.results.io.files import plain
from detinv.zoo.weights import weight_hash

Provenance = Mapping[str, Any]
"""Whatever JSON can hold, by name; two are compared name by name."""

_LENGTH = 16
# Packages that compute images, detections and scores; the optional ones count where they are installed.
_PACKAGES = ("torch", "torchvision", "kornia", "pycocotools", "transformers", "ultralytics", "detectron2")
# What every module has; it says nothing about what the module computes.
_OF_EVERY_MODULE = frozenset(vars(nn.Module()))


@cache
def package_versions() -> dict[str, str]:
    """Return the versions of detinv and of the installed packages that compute results, by name."""
    found = {"detinv": __version__}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def image_hash(images: Sequence[UInt8[Tensor, "3 _ _"]]) -> str:
    """Hash sizes and pixels of 8-bit images, in their order."""
    digest = hashlib.sha256()
    for image in images:
        digest.update(repr(tuple(image.shape)).encode())
        digest.update(image.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:_LENGTH]


def layouts_hash(layouts: Sequence[Layout]) -> str:
    """Hash ids, objects, masks and sizes of layouts, in their order."""
    return text_hash([(layout.id, layout_hash(layout)) for layout in layouts])


def detector_hash(detector: AbstractDetector) -> str:
    """Hash all that decides what a detector computes: weights, buffers, and class and plain options of every module.

    Take it before the detector has seen an image: some libraries keep the last image's size in a plain attribute.
    """
    described: list[object] = [weight_hash(detector)]
    for path, module in detector.named_modules():
        options = {
            name: value for name, value in vars(module).items() if name not in _OF_EVERY_MODULE and _is_plain(value)
        }
        # Those that are not saved with the weights, such as the mean colour.
        buffers = {name: _tensor_hash(value) for name, value in module.named_buffers(recurse=False)}
        described.append([path, type(module).__module__, type(module).__qualname__, options, buffers])
    return text_hash(described)


def text_hash(value: object) -> str:
    """Hash plain data by its JSON text.

    Raises:
        TypeError: for what is not data.
    """
    return hashlib.sha256(json.dumps(plain(value), sort_keys=True).encode()).hexdigest()[:_LENGTH]


def as_json(provenance: Provenance) -> dict[str, Any]:
    """Convert a provenance to what a file gives back."""
    found = json.loads(json.dumps(plain(provenance)))
    assert isinstance(found, dict)
    return found


def changed_names(before: Provenance | None, now: Provenance) -> list[str]:
    """List the names whose values differ, in alphabetical order; where nothing is known of before, a remark says so.

    Args:
        before, now: as `as_json` gives them.
    """
    if before is None:
        return ["everything, for it does not say what it was made from"]
    return sorted(name for name in {*before, *now} if before.get(name) != now.get(name))


def _tensor_hash(tensor: Tensor) -> str:
    data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)}".encode() + data).hexdigest()[:_LENGTH]


def _is_plain(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(name, str | int) and _is_plain(item) for name, item in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)
