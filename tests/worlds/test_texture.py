"""The world `texture`, by its scenes: stripes tell the class, outlines do not."""

from detinv.metrics.cues import orientation_agreement
from detinv.worlds.sources import by_label
from detinv.worlds.texture import TextureWorld
from tests.worlds.measuring import independent, inner_orientation, outline_of, quarter

OUTLINES = ("circle", "square", "triangle", "diamond", "star", "cross")


def test_stripes_have_the_planted_directions():
    scenes = [TextureWorld(seed=11).scene(index) for index in range(60)]
    planted = by_label(TextureWorld.planted_orientations, TextureWorld.class_names)
    found = orientation_agreement([scene.layout for scene in scenes], [scene.image for scene in scenes], planted)
    assert found["per_class"].keys() == planted.keys() and len(planted) == 4
    assert found["objects"] > 80 and min(found["per_class"].values()) >= 0.9


def test_outline_says_nothing_about_the_class():
    world = TextureWorld(seed=12, max_objects=1)
    layouts = [world.scene(index).layout for index in range(300)]
    pairs = [(world.class_names[int(layout.labels[0])], outline_of(layout.masks[0], OUTLINES)) for layout in layouts]
    assert all(set(pairs) >= {(name, outline) for outline in OUTLINES} for name in world.class_names)
    assert independent(pairs)


def test_direction_in_the_middle_tells_the_class():
    """The same test of independence that outlines pass, failed by what is planted."""
    world = TextureWorld(seed=13, max_objects=1, min_side=44)
    scenes = [world.scene(index) for index in range(120)]
    pairs = [
        (world.class_names[int(s.layout.labels[0])], quarter(inner_orientation(s.image, s.layout.boxes[0])))
        for s in scenes
    ]
    assert not independent(pairs, level=1e-30)
