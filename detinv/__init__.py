"""detinv: optimises the pixels of an image until a frozen object detector reports the layout you asked for.

Public names are imported on first use, so that importing the package is fast. It has one side effect: OpenMP's threads
are told not to wait long while they keep a core busy, see `limit_spinning`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from detinv.runtime.openmp import limit_spinning

if TYPE_CHECKING:
    from detinv.attribution.attribution import Attribution
    from detinv.attribution.explain import attribute
    from detinv.attribution.mistakes.report import ErrorReport, explain_errors
    from detinv.detectors.load import load_detector
    from detinv.detectors.locate import locate_rows
    from detinv.detectors.rows import TargetRows
    from detinv.detectors.targets import target_values
    from detinv.errors import DetinvError
    from detinv.inversion.preset import Preset, load_preset
    from detinv.inversion.run import InversionInterrupted, invert
    from detinv.layouts.layout import Detections, Layout
    from detinv.layouts.random import RandomLayouts
    from detinv.layouts.sources import CocoLayouts, FileLayouts
    from detinv.results.reports.inversion_result import InversionResult
    from detinv.worlds.sources import WorldLayouts

__version__ = "0.1.0"
__all__ = [
    "Attribution",
    "CocoLayouts",
    "Detections",
    "DetinvError",
    "ErrorReport",
    "FileLayouts",
    "InversionInterrupted",
    "InversionResult",
    "Layout",
    "Preset",
    "RandomLayouts",
    "TargetRows",
    "WorldLayouts",
    "attribute",
    "explain_errors",
    "invert",
    "load_detector",
    "load_preset",
    "locate_rows",
    "target_values",
]

_MODULES = {
    "Attribution": "detinv.attribution.attribution",
    "CocoLayouts": "detinv.layouts.sources",
    "Detections": "detinv.layouts.layout",
    "DetinvError": "detinv.errors",
    "ErrorReport": "detinv.attribution.mistakes.report",
    "FileLayouts": "detinv.layouts.sources",
    "InversionInterrupted": "detinv.inversion.run",
    "InversionResult": "detinv.results.reports.inversion_result",
    "Layout": "detinv.layouts.layout",
    "Preset": "detinv.inversion.preset",
    "RandomLayouts": "detinv.layouts.random",
    "TargetRows": "detinv.detectors.rows",
    "WorldLayouts": "detinv.worlds.sources",
    "attribute": "detinv.attribution.explain",
    "explain_errors": "detinv.attribution.mistakes.report",
    "invert": "detinv.inversion.run",
    "load_detector": "detinv.detectors.load",
    "load_preset": "detinv.inversion.preset",
    "locate_rows": "detinv.detectors.locate",
    "target_values": "detinv.detectors.targets",
}


# The runtime reads it when torch is imported.
limit_spinning()


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'detinv' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
