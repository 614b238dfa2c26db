"""What holds in every world: deterministic scenes, exact boxes and masks, every class, detectors that fit."""

import numpy as np
import pytest
import torch
import yaml

from detinv.config.composition.compose import compose_config
from detinv.config.folders import config_dir
from detinv.errors import ConfigError
from detinv.training.data import World
from detinv.worlds.base import overlap
from detinv.worlds.plain import PlainWorld
from detinv.worlds.registry import WORLDS, load_world
from detinv.worlds.sources import WorldLayouts

DETECTORS = {name: "shapes" if name == "plain" else name for name in WORLDS}


@pytest.fixture(params=WORLDS)
def world_class(request):
    return WORLDS[request.param]


def test_scene_depends_on_seed_and_number_only(world_class):
    world = world_class(seed=5)
    world.scene(0)
    a, b = world.scene(3), world_class(seed=5).scene(3)
    assert torch.equal(a.image, b.image) and torch.equal(a.layout.boxes, b.layout.boxes)
    assert torch.equal(a.layout.labels, b.layout.labels)
    assert torch.equal(a.layout.masks, b.layout.masks) and a.layout.id == b.layout.id == f"{world.name}-5-000003"
    assert not torch.equal(a.image, world.scene(4).image)
    assert not torch.equal(a.image, world_class(seed=6).scene(3).image)


def test_boxes_are_the_bounds_of_visible_masks(world_class):
    for index in range(20):
        layout = world_class(seed=1).scene(index).layout
        assert (layout.masks.sum(0) <= 1).all()
        for box, mask in zip(layout.boxes.tolist(), layout.masks, strict=True):
            assert mask.sum() >= 30
            rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
            assert box == [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


def test_masks_are_where_something_was_painted(world_class):
    """Colours change far more across the outline of a mask than from pixel to pixel of the background."""
    for index in range(5):
        scene = world_class(seed=8).scene(index)
        painted = scene.layout.masks.any(0)
        jump = (scene.image[:, :, 1:].float() - scene.image[:, :, :-1].float()).abs().sum(0)
        across = painted[:, 1:] != painted[:, :-1]
        outside = ~painted[:, 1:] & ~painted[:, :-1]
        assert jump[across].mean() > 3 * jump[outside].mean()


def test_every_class_appears_and_counts_stay_in_bounds(world_class):
    world = world_class(seed=2)
    layouts = [world.scene(index).layout for index in range(60)]
    labels = torch.cat([layout.labels for layout in layouts])
    assert set(labels.tolist()) == set(range(len(world.class_names)))
    assert {len(layout) for layout in layouts} >= {1, 2, 3}
    # Groups of the world `context` have two members.
    assert max(len(layout) for layout in layouts) <= world.max_objects * 2
    sides = torch.cat([(layout.boxes[:, 2:] - layout.boxes[:, :2]).amax(1) for layout in layouts])
    # A turn by twelve degrees can enlarge the box, by two pixels on each side.
    assert sides.max() <= world.max_side + 4
    assert sides.max() > 0.9 * world.max_side


def test_image_is_what_the_size_says(world_class):
    scene = world_class(image_size=(96, 160), seed=3).scene(0)
    assert scene.image.shape == (3, 96, 160) and scene.image.dtype == torch.uint8
    assert scene.layout.image_size == (96, 160)


def test_the_smallest_image_holds_the_largest_objects(world_class):
    least = int(world_class.max_side) + 2
    for index in range(10):
        layout = world_class(image_size=(least, 128), seed=1).scene(index).layout
        assert len(layout) > 0
    with pytest.raises(ConfigError, match=rf"image_size=\[128, {least - 1}\]: .* choose at least {least} for"):
        world_class(image_size=(128, least - 1))


@pytest.mark.parametrize("model", ["retinanet", "fasterrcnn"])
def test_detectors_know_the_classes_of_their_world(world_class, model):
    name = f"{DETECTORS[world_class.name]}_{model}"
    node = yaml.safe_load((config_dir() / "detector" / f"{name}.yaml").read_text())
    assert tuple(node["class_names"]) == world_class.class_names
    assert node["model"]["num_classes"] == len(world_class.class_names)
    training = yaml.safe_load((config_dir() / "model" / f"{name}.yaml").read_text())
    assert training["data"]["world"] == world_class.name
    # Layouts of runs come from seeds of a million and more; training stays below a thousand.
    assert training["data"]["seed"] < 1000 < training["data"]["evaluation_seed"]


def test_every_world_has_layouts_of_its_name_and_says_what_is_planted(world_class):
    assert compose_config("invert", [f"layout={world_class.name}"]).layout.world == world_class.name
    assert world_class.planted_truth.endswith(".")
    assert set(world_class.planted_orientations) <= set(world_class.class_names)
    assert len(set(world_class.class_names)) == len(world_class.class_names)
    assert isinstance(world_class(), World)


def test_worlds_by_name():
    world = load_world("part", [96, 128], 4)
    assert world == WORLDS["part"](image_size=(96, 128), seed=4)
    assert {name: kind.name for name, kind in WORLDS.items()} == {name: name for name in WORLDS}
    with pytest.raises(ConfigError, match=r"unknown world 'plane'; did you mean 'plain'\? \(there are: plain, "):
        load_world("plane")


def test_unseen_layouts_of_every_world(world_class):
    source = WorldLayouts(world_class.name, count=3, seed=1)
    layouts = source.layouts(world_class.class_names, lambda size: size, 100)
    for index, layout in enumerate(layouts):
        scene = world_class(seed=1_000_001).scene(index)
        assert layout.id == scene.layout.id
        assert torch.equal(layout.boxes, scene.layout.boxes) and torch.equal(layout.labels, scene.layout.labels)


def test_placed_boxes_overlap_little_and_lie_inside():
    for seed in range(50):
        boxes = PlainWorld().place(np.random.default_rng(seed))
        assert 1 <= len(boxes) <= 5
        for number, (x0, y0, x1, y1) in enumerate(boxes):
            assert x0 >= 1 and y0 >= 1 and x1 <= 127 and y1 <= 127
            assert all(overlap((x0, y0, x1, y1), other) < 0.12 for other in boxes[:number])


def test_overlap_is_measured_in_the_smaller_box():
    assert overlap((0.0, 0.0, 10.0, 10.0), (5.0, 5.0, 9.0, 25.0)) == 5 * 4 / 80
    assert overlap((0.0, 0.0, 10.0, 10.0), (2.0, 2.0, 3.0, 3.0)) == 1
    assert (
        overlap((0.0, 0.0, 10.0, 10.0), (10.0, 0.0, 12.0, 3.0))
        == 0
        == overlap((0.0,) * 2 + (1.0,) * 2, (5.0,) * 2 + (6.0,) * 2)
    )
