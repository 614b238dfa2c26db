"""The world `shape`, by its scenes: the outline tells the class, textures do not."""

import pytest

from detinv.worlds.plain import PlainWorld
from detinv.worlds.shape import ShapeWorld
from tests.worlds.measuring import SHAPES, apart, independent, inner_orientation, outline_of, quarter, within


@pytest.fixture(scope="module")
def single():
    """(class, scene) of large objects that stand alone."""
    world = ShapeWorld(seed=21, max_objects=1, min_side=44)
    scenes = [world.scene(index) for index in range(400)]
    return [(world.class_names[int(scene.layout.labels[0])], scene) for scene in scenes]


@pytest.fixture(scope="module")
def directions(single):
    """(class, direction of the texture) of the same objects."""
    return [(name, inner_orientation(scene.image, scene.layout.boxes[0])) for name, scene in single]


def test_outline_is_the_class(single):
    assert all(outline_of(scene.layout.masks[0], tuple(SHAPES)) == name for name, scene in single[:150])


def test_direction_of_the_texture_says_nothing_about_the_class(directions):
    pairs = [(name, quarter(degrees)) for name, degrees in directions]
    assert {direction for _, direction in pairs} == {"0", "45", "90", "135", "none"}
    assert independent(pairs)


def test_plain_s_directions_are_met_by_chance(directions):
    """Directions that the class names have in `plain` are as frequent with all other classes."""
    hits, expected = 0, 0.0
    for name, planted in PlainWorld.planted_orientations.items():
        own = [apart(degrees, planted) <= 15 for other, degrees in directions if other == name]
        rest = [apart(degrees, planted) <= 15 for other, degrees in directions if other != name]
        hits += sum(own)
        expected += len(own) * sum(rest) / len(rest)
    objects = sum(name in PlainWorld.planted_orientations for name, _ in directions)
    assert within(hits, objects, expected / objects)


def test_classes_bear_plain_s_names():
    assert set(ShapeWorld.class_names) <= set(PlainWorld.class_names)
    assert ShapeWorld.planted_orientations == {}
