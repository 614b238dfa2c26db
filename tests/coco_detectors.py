"""The detectors that others trained on COCO, on small inputs and with their bundled weights."""

from functools import cache
from typing import Any

from detinv.config.detectors import detector_node
from detinv.detectors.base import AbstractDetector
from detinv.detectors.load import load_detector

NAMES = ("fastestdet", "nanodet_m", "yolox_nano")


@cache
def small(name: str, **changed: Any) -> AbstractDetector:
    """A detector whose input has sides of 128 pixels."""
    options = detector_node(name)["options"]
    options["image_size"] = [128, 128] if isinstance(options["image_size"], list) else 128
    # Few blocks of noise look like anything.
    options["score_thresh"] = 0.001
    return load_detector(name, options=options | changed)
