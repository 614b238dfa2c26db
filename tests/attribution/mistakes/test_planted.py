"""Planted mistakes are named rightly: a few of each; `planted_mistakes.py` measures hundreds."""

from importlib.util import find_spec
from itertools import islice

import pytest

from detinv.worlds.plain import PlainWorld
from tests.attribution.measurements.planted_mistakes import of_scenes
from tests.attribution.mistakes.pairs import PairsWorld
from tests.attribution.mistakes.plants import (
    annotated_twice,
    duplicates,
    fewer_candidates,
    fewer_detections,
    fewer_proposals,
    hidden,
    moved,
    not_annotated,
    raised_threshold,
    suppressed,
    swapped,
)

_DETECTRON2 = (
    pytest.mark.detectron2,
    pytest.mark.skipif(find_spec("detectron2") is None, reason="needs Detectron2, see its own guide"),
)
# The same detectors as Detectron2's models: each plant once, suppression in three families.
_IN_DETECTRON2 = (
    *(("detectron2_retinanet", plant, PlainWorld) for plant in (hidden, duplicates, fewer_candidates)),
    *(("detectron2_fcos", plant, PlainWorld) for plant in (raised_threshold, moved)),
    *(("detectron2_fasterrcnn", plant, PlainWorld) for plant in (fewer_proposals, fewer_detections, not_annotated)),
    *(("detectron2_maskrcnn", plant, PlainWorld) for plant in (annotated_twice, swapped)),
    *((f"detectron2_{family}", suppressed, PairsWorld) for family in ("retinanet", "fcos", "fasterrcnn")),
)


@pytest.mark.parametrize(
    ("name", "plant", "world"),
    [
        *(("shapes_retinanet", plant, PlainWorld) for plant in (hidden, annotated_twice, duplicates, fewer_candidates)),
        *(("shapes_fasterrcnn", plant, PlainWorld) for plant in (fewer_proposals, fewer_detections, raised_threshold)),
        *(("shapes_fcos", plant, PlainWorld) for plant in (swapped, moved, not_annotated)),
        ("shapes_fcos", suppressed, PairsWorld),
        *(pytest.param(*one, marks=_DETECTRON2) for one in _IN_DETECTRON2),
    ],
)
def test_planted_mistakes_are_named(name: str, plant, world):
    scenes = islice(of_scenes(name, world(seed=11)), 20)
    made = next(made for subject in scenes if (made := list(plant(subject))))
    for one in {one.name: one for one in made}.values():
        assert one.verdict() == "right", one.name
