"""Features pooled without sorting regions by level are torchvision's to the last bit."""

import pytest
import torch

from detinv.detectors.acceleration.level_pooling import LevelPooling
from tests.detectors.acceleration.test_row_pooling import BOXES, SIDE, features, pooling


@pytest.mark.parametrize(("output_size", "sampling_ratio"), [(7, 2), ((3, 5), -1)])
def test_features_and_gradient_are_torchvisions(output_size, sampling_ratio):
    ordinary = pooling(output_size=output_size, sampling_ratio=sampling_ratio)
    assert LevelPooling.suits(ordinary)
    levels = features(torch.float32)
    boxes = [torch.tensor(one).view(-1, 4) for one in BOXES]
    sizes = [(SIDE, SIDE)] * len(boxes)
    expected, found = ordinary(levels, boxes, sizes), LevelPooling(ordinary)(levels, boxes, sizes)
    assert torch.equal(found, expected)
    upstream = torch.randn_like(expected)
    wanted, given = (torch.autograd.grad(output, list(levels.values()), upstream) for output in (expected, found))
    for one, other in zip(wanted, given, strict=True):
        assert one.any() and torch.equal(one, other)


def test_a_single_level_is_left_alone():
    assert not LevelPooling.suits(pooling(names=("0",)))
