"""Errors of the families that need no further library; the tests of the others' adapters prove the same."""

import pytest

from tests import coco_detectors
from tests.fakes import block_image, in_float64, tiny_detector
from tests.lost_objects import assert_lost_by_score


@pytest.mark.parametrize(
    "name",
    [
        *("retinanet", "fcos", "ssd", "fasterrcnn"),
        *(
            name if name == "fastestdet" else pytest.param(name, marks=pytest.mark.slow)
            for name in coco_detectors.NAMES
        ),
    ],
)
def test_what_a_threshold_drops_was_lost_by_its_score(name: str):
    tiny = name not in coco_detectors.NAMES
    detector = in_float64(tiny_detector(name, image_size=(64, 96))) if tiny else coco_detectors.small(name)
    assert_lost_by_score(detector, [block_image((64, 96), seed) for seed in range(8)])
