"""Versions of the software that results depend on."""

import platform
from importlib.metadata import version

from detinv import __version__

_PACKAGES = ("torch", "torchvision", "pytorch-lightning", "kornia", "pycocotools")


def versions() -> dict[str, str]:
    """Return the versions of detinv, Python and the packages that influence results, by name."""
    return {"detinv": __version__, "python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}
