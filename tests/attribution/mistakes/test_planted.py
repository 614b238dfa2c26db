"""Planted mistakes are named rightly: a few of each; `planted_mistakes.py` measures hundreds."""

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


@pytest.mark.parametrize(
    ("name", "plant", "world"),
    [
        *(("shapes_retinanet", plant, PlainWorld) for plant in (hidden, annotated_twice, duplicates, fewer_candidates)),
        *(("shapes_fasterrcnn", plant, PlainWorld) for plant in (fewer_proposals, fewer_detections, raised_threshold)),
        *(("shapes_fcos", plant, PlainWorld) for plant in (swapped, moved, not_annotated)),
        ("shapes_fcos", suppressed, PairsWorld),
    ],
)
def test_planted_mistakes_are_named(name: str, plant, world):
    scenes = islice(of_scenes(name, world(seed=11)), 20)
    made = next(made for subject in scenes if (made := list(plant(subject))))
    for one in {one.name: one for one in made}.values():
        assert one.verdict() == "right", one.name
