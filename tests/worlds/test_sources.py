"""Unseen plain layouts, and the orientations planted in them."""

import pytest
import torch

from detinv.errors import ConfigError, LayoutError
from detinv.worlds.plain import PlainWorld
from detinv.worlds.sources import PlainLayouts, planted_orientations


def same(size):
    return size


def test_layouts_are_those_of_the_scenes():
    source = PlainLayouts(count=6, seed=2)
    for scene, layout in zip(source.scenes(), source.layouts(PlainWorld.class_names, same, 100), strict=True):
        assert layout.id == scene.layout.id
        assert torch.equal(layout.boxes, scene.layout.boxes) and torch.equal(layout.labels, scene.layout.labels)
        assert torch.equal(layout.masks, scene.layout.masks)


def test_labels_follow_the_detector():
    names = ("other", *reversed(PlainWorld.class_names))
    source = PlainLayouts(count=6, masks=False)
    for scene, layout in zip(source.scenes(), source.layouts(names, same, 100), strict=True):
        assert [names[k] for k in layout.labels] == [PlainWorld.class_names[k] for k in scene.layout.labels]
        assert layout.masks is None


def test_seeds_differ_from_each_other_and_from_training():
    first, second = PlainLayouts(seed=0), PlainLayouts(seed=1)
    assert first.world.seed != second.world.seed and min(first.world.seed, second.world.seed) >= 1000
    assert not torch.equal(first.scenes()[0].image, second.scenes()[0].image)
    ids = [layout.id for layout in first.layouts(PlainWorld.class_names, same, 100)]
    assert len(ids) == len(set(ids)) == 100


def test_detector_without_the_classes_is_refused():
    with pytest.raises(LayoutError, match=r"layout=plain: unknown class 'circle' \(the detector knows RBC, WBC\)"):
        PlainLayouts(count=1).layouts(("RBC", "WBC"), same, 100)
    with pytest.raises(LayoutError, match="larger than the detector allows"):
        PlainLayouts(count=20).layouts(PlainWorld.class_names, same, 1)


@pytest.mark.parametrize(("options", "problem"), [({"count": 0}, "layout.count=0"), ({"seed": -1}, "layout.seed=-1")])
def test_impossible_options(options, problem):
    with pytest.raises(ConfigError, match=problem):
        PlainLayouts(**options)


def test_planted_orientations_follow_the_detector():
    assert planted_orientations(PlainWorld.class_names) == {0: 90.0, 1: 0.0, 2: 45.0, 3: 135.0}
    assert planted_orientations(("star", "triangle", "RBC")) == {1: 45.0}
