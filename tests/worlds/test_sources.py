"""Unseen layouts of a world, and what is planted in them by label."""

import pytest
import torch

from detinv.errors import ConfigError, LayoutError
from detinv.worlds.plain import PlainWorld
from detinv.worlds.sources import WorldLayouts, by_label


def same(size):
    return size


def test_layouts_are_those_of_the_scenes():
    source = WorldLayouts("plain", count=6, seed=2)
    for scene, layout in zip(source.scenes(), source.layouts(PlainWorld.class_names, same, 100), strict=True):
        assert layout.id == scene.layout.id
        assert torch.equal(layout.boxes, scene.layout.boxes) and torch.equal(layout.labels, scene.layout.labels)
        assert torch.equal(layout.masks, scene.layout.masks)


def test_labels_follow_the_detector():
    names = ("other", *reversed(PlainWorld.class_names))
    source = WorldLayouts("plain", count=6, masks=False)
    for scene, layout in zip(source.scenes(), source.layouts(names, same, 100), strict=True):
        assert [names[k] for k in layout.labels] == [PlainWorld.class_names[k] for k in scene.layout.labels]
        assert layout.masks is None


def test_seeds_differ_from_each_other_and_from_training():
    first, second = (WorldLayouts("plain", count=20, seed=seed) for seed in (0, 1))
    assert first.world.seed != second.world.seed and min(first.world.seed, second.world.seed) >= 1000
    assert not torch.equal(first.scenes()[0].image, second.scenes()[0].image)
    ids = [layout.id for layout in first.layouts(PlainWorld.class_names, same, 100)]
    assert len(ids) == len(set(ids)) == 20


def test_detector_without_the_classes_is_refused():
    with pytest.raises(LayoutError, match=r"layout=plain: unknown class 'circle' \(the detector knows RBC, WBC\)"):
        WorldLayouts("plain", count=1).layouts(("RBC", "WBC"), same, 100)
    with pytest.raises(LayoutError, match="larger than the detector allows"):
        WorldLayouts("plain", count=20).layouts(PlainWorld.class_names, same, 1)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"count": 0}, "layout.count=0"),
        ({"seed": -1}, "layout.seed=-1"),
        ({"world": "contxt"}, r"unknown world 'contxt'; did you mean 'context'\?"),
        ({"image_size": [32, 32]}, r"image_size=\[32, 32\]: the world plain has objects of up to 60 pixels"),
    ],
)
def test_impossible_options(options, problem):
    with pytest.raises(ConfigError, match=problem):
        WorldLayouts(**options)


def test_what_is_planted_follows_the_detector():
    planted = PlainWorld.planted_orientations
    assert by_label(planted, PlainWorld.class_names) == {0: 90.0, 1: 0.0, 2: 45.0, 3: 135.0}
    assert by_label(planted, ("star", "triangle", "RBC")) == {1: 45.0}
    assert by_label({}, PlainWorld.class_names) == {}
