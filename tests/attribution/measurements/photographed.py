"""Photographs of a folder, and what a detector is most certain of in each."""

from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from detinv.attribution.core.objects import ExplainedObjects, detected_objects
from detinv.detectors.base import AbstractDetector
from detinv.results.io.images import read_image

LEAST_SCORE = 0.5
PER_IMAGE = 2


def photographed(detector: AbstractDetector, folder: Path, count: int) -> Iterator[tuple[Tensor, ExplainedObjects]]:
    """Yield photographs, each with the detections of highest score, until there are `count` of these."""
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".png")):
        if not count:
            return
        image = read_image(path)
        objects, _ = detected_objects(detector, image, detector.detect([image])[0].above(LEAST_SCORE))
        objects = objects.select(objects.scores.argsort(descending=True)[: min(PER_IMAGE, count)])
        if len(objects):
            yield image, objects
            count -= len(objects)
