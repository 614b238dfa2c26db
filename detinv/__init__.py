"""detinv: pixels that a frozen object detector reads as the layout you asked for.

The public names load on first use, so importing the package costs nothing and has no side effect.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detinv.detectors.load import load_detector
    from detinv.inversion.run import invert
    from detinv.layouts.layout import Detections, Layout

__version__ = "0.1.0"
__all__ = ["Detections", "Layout", "invert", "load_detector"]

_HOMES = {
    "Detections": "detinv.layouts.layout",
    "Layout": "detinv.layouts.layout",
    "invert": "detinv.inversion.run",
    "load_detector": "detinv.detectors.load",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'detinv' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
