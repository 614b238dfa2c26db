"""The bundled detectors of COCO's classes, and how single objects are asked of them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from detinv.detectors.base import AbstractDetector
from detinv.detectors.load import load_detector
from detinv.experiments.common.central import CentralObjects
from detinv.experiments.common.setup import ExperimentSetup
from detinv.inversion.preset import Preset
from detinv.layouts.sources import FileLayouts
from detinv.verification.setup import VerificationSetup

DETECTORS = ("fastestdet", "nanodet_m", "yolox_nano")
"""Cheapest first."""
RANDOM = "random_"
"""Before the label of a detector with random weights."""

# Of the image, in pixels: smaller than what the networks were trained on, and as many times cheaper.
_SIZE = 256
_OPTIONS: Mapping[str, Any] = {"fastestdet": [_SIZE, _SIZE], "nanodet_m": [_SIZE, _SIZE], "yolox_nano": _SIZE}

SIDES: Mapping[str, float] = {"fastestdet": 64.0, "nanodet_m": 64.0, "yolox_nano": 96.0}
"""Square roots of the areas of single objects, in pixels.

A quarter of the image's side leaves room for context. YOLOX-Nano sees only a third of the beds of that size, for
want of objectness, which is not asked for. FastestDet's candidates have no size.
"""

CONTEXT_CLASSES = (
    "person",
    "dog",
    "cat",
    "horse",
    "car",
    "bed",
    "carrot",
    "keyboard",
    "surfboard",
    "umbrella",
)
"""Those whose context is counted (figures 10 and 11)."""
OBJECT_CLASSES = (
    *CONTEXT_CLASSES,
    "bicycle",
    "bus",
    "boat",
    "bird",
    "elephant",
    "zebra",
    "couch",
    "laptop",
    "pizza",
    "clock",
)
"""Those of which single objects are made (figures 8 and 9)."""


def entry(label: str, random: bool = False) -> dict[str, Any]:
    """Return a detector for single objects, as an entry of an experiment's list.

    Args:
        random: with random weights; its label then begins with `RANDOM`.
    """
    weights = {"weights": "random"} if random else {}
    return {
        "name": label,
        "label": f"{RANDOM}{label}" if random else label,
        "options": {"image_size": _OPTIONS[label]},
        **weights,
    }


def load_single(label: str) -> AbstractDetector:
    """Load a detector as `entry` describes it."""
    return load_detector(label, options=entry(label)["options"])


def single_objects(count: int, classes: Sequence[str], side: float) -> CentralObjects:
    """Return the options of single-object images.

    Args:
        count: images of each class.
        classes: by name.
        side: square root of the box's area, in pixels.
    """
    return CentralObjects(seeds=count, side=side, image_size=(_SIZE, _SIZE), classes=classes)


def single_setup(
    setup: VerificationSetup, folder: str, size: str, entries: Sequence[dict[str, Any]]
) -> ExperimentSetup:
    """Return an experiment setup for single objects.

    Args:
        folder, size: see `VerificationSetup.experiment_setup`.
        entries: see `entry`.
    """
    local = setup.experiment_setup(folder, size, entries, FileLayouts("sample"))
    local.preset = raising_log_odds(setup.preset)
    return local


def raising_log_odds(preset: Preset) -> Preset:
    """Change a preset so that its positive terms raise log-odds.

    Under a softmax a raw logit at the preset's cap says little: FastestDet's objects stay improbable. Under sigmoids
    the two are the same.
    """
    return replace(preset, objective=preset.objective.raising_log_odds())
