"""The world `context`, by its layouts: how often companions stand where they should, and that nothing else is near."""

import pytest

from detinv.worlds.context import ContextWorld
from tests.worlds.measuring import independent, inner_orientation, outline_of, quarter, within

NAMES = ContextWorld.class_names
PLANTED = {"bulb": ("cap", {"above"}), "ball": ("foot", {"below"}), "gear": ("peg", {"left", "right"})}
OUTLINE = {
    "bulb": "circle", "ball": "circle", "gear": "ring", "hoop": "ring",
    "cap": "square", "foot": "triangle", "peg": "cross", "star": "star",
}  # fmt: skip


@pytest.fixture(scope="module")
def layouts():
    """Lists of (class, box)."""
    world = ContextWorld(seed=51)
    found = [world.scene(index).layout for index in range(560)]
    return [
        [(NAMES[label], box) for label, box in zip(layout.labels.tolist(), layout.boxes.tolist(), strict=True)]
        for layout in found
    ]


def side_of(box, other):
    """Return the side of `box` on which `other` stands, centred and within a few pixels; empty if on none."""
    dx, dy = (other[0] + other[2] - box[0] - box[2]) / 2, (other[1] + other[3] - box[1] - box[3]) / 2
    gaps = {
        "above": (box[1] - other[3], dx), "below": (other[1] - box[3], dx),
        "left": (box[0] - other[2], dy), "right": (other[0] - box[2], dy),
    }  # fmt: skip
    return next((side for side, (gap, aside) in gaps.items() if -3 <= gap <= 8 and abs(aside) <= 6), "")


def gap(box, other):
    """Pixels between two boxes along the axis on which they are farther apart; negative where they overlap."""
    return max(box[0] - other[2], other[0] - box[2], box[1] - other[3], other[1] - box[3])


def sides(layouts, name, companion):
    """For each object of a class, where a companion of that class stands; empty where none does."""
    found = []
    for objects in layouts:
        for one, box in objects:
            if one == name:
                companions = [side_of(box, other) for kind, other in objects if kind == companion]
                found.append(next(filter(None, companions), ""))
    return found


@pytest.mark.parametrize("name", PLANTED)
def test_nine_of_ten_have_their_companion_on_the_planted_side(layouts, name):
    companion, planted = PLANTED[name]
    found = sides(layouts, name, companion)
    assert len(found) > 150
    assert set(found) == planted | {""}
    assert within(sum(side in planted for side in found), len(found), 0.9)


def test_pegs_prefer_no_side(layouts):
    found = [side for side in sides(layouts, "gear", "peg") if side]
    assert within(found.count("left"), len(found), 0.5)


@pytest.mark.parametrize("name", ["hoop", "star", "cap", "foot", "peg"])
def test_others_have_no_companion(layouts, name):
    theirs = {"cap": ("bulb",), "foot": ("ball",), "peg": ("gear",)}.get(name, ())
    for objects in layouts:
        for number, (one, box) in enumerate(objects):
            if one == name:
                near = [kind for k, (kind, other) in enumerate(objects) if k != number and gap(box, other) < 4]
                assert set(near) <= set(theirs) and len(near) <= 1


@pytest.mark.parametrize("name", PLANTED)
def test_nothing_but_the_companion_stands_near(layouts, name):
    companion, planted = PLANTED[name]
    for objects in layouts:
        for number, (one, box) in enumerate(objects):
            if one == name:
                # Eight pixels between what is placed; a turned outline may exceed its box by two on each side.
                near = [(kind, other) for k, (kind, other) in enumerate(objects) if k != number and gap(box, other) < 4]
                assert [kind for kind, _ in near] in ([], [companion])
                assert all(side_of(box, other) in planted for _, other in near)


def test_companions_stand_alone_as_well(layouts):
    for name, (companion, _) in PLANTED.items():
        total = sum(kind == companion for objects in layouts for kind, _ in objects)
        accompanied = sum(bool(side) for side in sides(layouts, name, companion))
        assert 0.3 < accompanied / total < 0.7


def test_outlines_are_shared_by_those_that_look_alike():
    world = ContextWorld(seed=52, max_objects=1)
    for index in range(120):
        layout = world.scene(index).layout
        for label, mask in zip(layout.labels.tolist(), layout.masks, strict=True):
            assert outline_of(mask, tuple(set(OUTLINE.values()))) == OUTLINE[NAMES[label]]


@pytest.mark.slow
def test_textures_say_nothing_about_the_class():
    world = ContextWorld(seed=53, min_side=30)
    pairs = []
    for index in range(250):
        scene = world.scene(index)
        for label, box in zip(scene.layout.labels.tolist(), scene.layout.boxes, strict=True):
            if OUTLINE[NAMES[label]] == "circle":
                pairs.append((NAMES[label], quarter(inner_orientation(scene.image, box, share=0.6))))
    assert {name for name, _ in pairs} == {"bulb", "ball"}
    assert independent(pairs)


def test_sizes_say_nothing_about_the_class(layouts):
    means = {}
    for name in ("bulb", "ball"):
        longer = [max(b[2] - b[0], b[3] - b[1]) for objects in layouts for one, b in objects if one == name]
        means[name] = sum(longer) / len(longer)
    # The spread of one size is about 4.5 pixels; more than 150 of each.
    assert abs(means["bulb"] - means["ball"]) < 3.5 * 4.5 * (2 / 150) ** 0.5
