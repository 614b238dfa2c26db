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

from jaxtyping import UInt8
from torch import Tensor

from detinv import __version__
from detinv.inputs.fingerprint import LENGTH
from detinv.inversion.resume.fingerprint import layout_hash
from detinv.layouts.layout import Layout
from detinv.results.io.files import plain

Provenance = Mapping[str, Any]
"""Whatever JSON can hold, by name; two are compared name by name."""

# Packages that compute images, detections and scores; the optional ones count where they are installed.
_PACKAGES = ("torch", "torchvision", "kornia", "pycocotools", "transformers", "ultralytics", "detectron2")


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
    return digest.hexdigest()[:LENGTH]


def layouts_hash(layouts: Sequence[Layout]) -> str:
    """Hash ids, objects, masks and sizes of layouts, in their order."""
    return text_hash([(layout.id, layout_hash(layout)) for layout in layouts])


def text_hash(value: object) -> str:
    """Hash plain data by its JSON text.

    Raises:
        TypeError: for what is not data.
    """
    return hashlib.sha256(json.dumps(plain(value), sort_keys=True).encode()).hexdigest()[:LENGTH]


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
