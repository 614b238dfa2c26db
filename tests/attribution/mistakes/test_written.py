"""Planted mistakes are named rightly in families of which no trained detector is bundled, and in the small COCO ones.

Raw predictions are written by hand; post-processing is the library's own. `planted_mistakes.py` measures hundreds.
"""

from importlib.util import find_spec
from itertools import islice

import pytest

from tests.attribution.measurements.planted_mistakes import of_rectangles
from tests.attribution.mistakes.plants import (
    annotated_twice,
    duplicates,
    fewer_candidates,
    fewer_detections,
    hidden,
    moved,
    not_annotated,
    raised_threshold,
    suppressed,
    swapped,
)

_OF_ALL = (hidden, annotated_twice, duplicates, swapped, raised_threshold, moved, not_annotated)
_LIBRARIES = {
    "transformers": ("detr_resnet50", "rtdetr_r18", "rtdetr_v2_r18"),
    "ultralytics": ("yolov8n", "yolo11n", "yolov10n", "yolo26n"),
}
_ALSO = {
    "ssd": (fewer_detections, fewer_candidates, suppressed),
    "yolox_nano": (fewer_detections, suppressed),
    "nanodet_m": (fewer_detections, suppressed),
    "fastestdet": (suppressed,),
    "yolov8n": (fewer_detections, suppressed),
    "yolo11n": (fewer_detections, suppressed),
    "yolov10n": (fewer_detections,),
    "yolo26n": (fewer_detections,),
}


def needs(name: str) -> list[pytest.MarkDecorator]:
    return [
        pytest.mark.skipif(find_spec(library) is None, reason=f"needs the optional library {library}")
        for library, names in _LIBRARIES.items()
        if name in names
    ]


@pytest.mark.parametrize(
    "name",
    [pytest.param(one, marks=needs(one)) for one in (*_ALSO, *_LIBRARIES["transformers"])],
)
def test_planted_mistakes_are_named(name: str):
    for plant in (*_OF_ALL, *_ALSO.get(name, ())):
        subjects = islice(of_rectangles(f"written_{name}", seed=11, pairs=plant is suppressed), 20)
        made = next(made for subject in subjects if (made := list(plant(subject))))
        for one in {one.name: one for one in made}.values():
            assert one.verdict() == "right", f"{plant.__name__}: {one.name}"


@pytest.mark.parametrize("name", ["ssd", "yolox_nano", "nanodet_m", "fastestdet"])
def test_objects_that_are_seen_are_found(name: str):
    for subject in islice(of_rectangles(f"written_{name}", seed=3), 3):
        assert len(subject.found) == len(subject.truth)
