"""The world `scale`, by its scenes: outlines identify small objects, textures large ones."""

import numpy as np
import pytest

from detinv.worlds.scale import ScaleWorld
from tests.worlds.measuring import apart, independent, inner_orientation, outline_of, within

OUTLINE = {"disc": "circle", "block": "square", "wedge": "triangle", "plus": "cross"}
DIRECTION = {"disc": 90.0, "block": 0.0, "wedge": 45.0, "plus": 135.0}


@pytest.fixture(scope="module")
def groups():
    """(class, scene) of objects that stand alone, small and large ones."""
    world = ScaleWorld(seed=31, max_objects=1)
    found = {"small": [], "large": []}
    for index in range(400):
        scene = world.scene(index)
        found["large" if side(scene) > 35 else "small"].append((world.class_names[int(scene.layout.labels[0])], scene))
    return found


def side(scene):
    box = scene.layout.boxes[0]
    return float((box[2:] - box[:2]).max())


def outlines(pairs):
    return [(name, outline_of(scene.layout.masks[0], tuple(OUTLINE.values()))) for name, scene in pairs]


def test_nothing_is_drawn_between_small_and_large(groups):
    sides = np.array([side(scene) for pairs in groups.values() for _, scene in pairs])
    # Outlines fill nine tenths of their box at least, and turned ones exceed it by two pixels on each side at most.
    assert sides.min() >= 16 and sides.max() <= 76
    assert not ((sides > 32) & (sides < 39)).any()
    assert within(len(groups["large"]), 400, 0.4)


def test_small_objects_have_the_outline_of_their_class(groups):
    assert all(OUTLINE[name] == outline for name, outline in outlines(groups["small"]))


def test_large_objects_have_any_outline(groups):
    pairs = outlines(groups["large"])
    assert independent(pairs)
    assert within(sum(OUTLINE[name] == outline for name, outline in pairs), len(pairs), 1 / 4)


def test_large_objects_have_the_direction_of_their_class(groups):
    agree = [
        apart(inner_orientation(scene.image, scene.layout.boxes[0]), DIRECTION[name]) <= 20
        for name, scene in groups["large"]
    ]
    assert np.mean(agree) >= 0.95


def test_small_objects_have_any_direction(groups):
    agree = [
        apart(inner_orientation(scene.image, scene.layout.boxes[0], share=0.6), DIRECTION[name]) <= 15
        for name, scene in groups["small"]
    ]
    # One in six by chance, some more from outlines that are seen along with the texture.
    assert np.mean(agree) < 0.35
