"""Random layouts: reproducible, legal, hardly overlapping, for any number of classes."""

import pytest
import torch

from detinv.errors import ConfigError
from detinv.layouts.boxes import pairwise_iou
from detinv.layouts.random import RandomLayouts, random_layout


@pytest.mark.parametrize("objects", [0, 1, 8])
def test_objects_hardly_overlap_and_lie_inside(objects):
    layout = random_layout("one", (96, 160), 5, objects, torch.Generator().manual_seed(objects))
    assert len(layout) == objects
    overlap = pairwise_iou(layout.boxes, layout.boxes).fill_diagonal_(0)
    assert not objects or float(overlap.max()) < 0.2
    sides = layout.boxes[:, 2:] - layout.boxes[:, :2]
    assert bool((sides >= torch.tensor([20.0, 12.0])).all())
    assert bool((layout.labels < 5).all())


def test_the_source_is_reproducible_and_knows_the_detectors_limits():
    def made(seed, most=100):
        return RandomLayouts(count=6, seed=seed, objects=7).layouts(["a", "b"], lambda size: (64, 96), most)

    first, again, other = made(1), made(1), made(2)
    assert all(torch.equal(a.boxes, b.boxes) and a.id == b.id for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a.boxes, b.boxes) for a, b in zip(first, other, strict=True))
    assert {layout.image_size for layout in first} == {(64, 96)}
    assert len({len(layout) for layout in first}) > 1
    assert {int(label) for layout in first for label in layout.labels} == {0, 1}
    assert max(len(layout) for layout in made(1, most=2)) == 2


@pytest.mark.parametrize("options", [{"count": 0}, {"seed": -1}, {"objects": 0}])
def test_numbers_that_mean_nothing_are_named(options):
    (name,) = options
    with pytest.raises(ConfigError, match=f"layout.{name}={options[name]}: choose at least"):
        RandomLayouts(**options)
