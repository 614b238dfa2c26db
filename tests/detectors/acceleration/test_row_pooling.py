"""Pooled features and their gradient are torchvision's."""

import pytest
import torch
from torchvision.ops import MultiScaleRoIAlign

from detinv.detectors.acceleration.row_pooling import RowPooling

SIDE, STRIDES = 64, (4, 8, 16)
BOXES = [
    [[3.0, 5.0, 20.0, 31.0], [0.0, 0.0, 64.0, 64.0], [10.2, 20.7, 11.1, 60.3], [9.0, 11.0, 44.0, 46.0]],
    # Beyond the image on all sides, without area, and turned round.
    [[-9.0, -7.0, 12.0, 9.0], [50.0, 58.0, 75.0, 71.0], [30.0, 30.0, 30.0, 30.0], [40.0, 41.0, 20.0, 21.0]],
    [],
]


def pooling(names=("0", "1", "2"), output_size=7, sampling_ratio=2):
    # So small a canonical size that boxes of such small images come from different levels.
    made = MultiScaleRoIAlign(list(names), output_size, sampling_ratio, canonical_scale=24, canonical_level=3)
    made(
        {name: torch.zeros(1, 1, SIDE // stride, SIDE // stride) for name, stride in zip(names, STRIDES, strict=False)},
        *shown(1),
    )
    return made


def shown(count):
    return [torch.tensor([[0.0, 0.0, 1.0, 1.0]])] * count, [(SIDE, SIDE)] * count


def features(dtype, names=("0", "1", "2"), batch=3, last=False):
    generator = torch.Generator().manual_seed(0)
    found = {}
    for name, stride in zip(names, STRIDES, strict=False):
        level = torch.randn(batch, 5, SIDE // stride, SIDE // stride, generator=generator, dtype=dtype)
        level = level.to(memory_format=torch.channels_last if last else torch.contiguous_format)
        found[name] = level.requires_grad_()
    return found


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(("output_size", "sampling_ratio"), [(7, 2), (4, 1), ((3, 5), 3)])
@pytest.mark.parametrize("names", [("0", "1", "2"), ("0",)], ids=["three levels", "one level"])
def test_features_and_gradient_are_torchvisions(names, output_size, sampling_ratio, last):
    ordinary = pooling(names, output_size, sampling_ratio)
    assert RowPooling.suits(ordinary)
    levels = features(torch.float64, names, last=last)
    boxes = [torch.tensor(one, dtype=torch.float64).view(-1, 4) for one in BOXES]
    sizes = [(SIDE, SIDE)] * len(boxes)
    expected, found = ordinary(levels, boxes, sizes), RowPooling(ordinary)(levels, boxes, sizes)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-11)
    upstream = torch.randn_like(expected)
    wanted, given = (torch.autograd.grad(output, list(levels.values()), upstream) for output in (expected, found))
    torch.testing.assert_close(given, wanted, rtol=0, atol=1e-11)
    if len(names) > 1:
        assert all(bool(gradient.any()) for gradient in given), "boxes come from all levels"


def test_single_precision_rounds_places_as_torchvision_does():
    ordinary, levels = pooling(), features(torch.float32)
    boxes = [torch.tensor(one).view(-1, 4) for one in BOXES]
    sizes = [(SIDE, SIDE)] * len(boxes)
    torch.testing.assert_close(
        RowPooling(ordinary)(levels, boxes, sizes), ordinary(levels, boxes, sizes), rtol=0, atol=1e-5
    )


def test_other_levels_among_the_features_do_not_matter():
    ordinary, levels = pooling(), features(torch.float32)
    boxes, sizes = shown(3)
    expected = RowPooling(ordinary)(levels, boxes, sizes)
    assert torch.equal(RowPooling(ordinary)({**levels, "pool": torch.zeros(3, 5, 1, 1)}, boxes, sizes), expected)


def test_reduced_precision_goes_the_ordinary_way():
    ordinary, boxes = pooling(), shown(3)
    levels = {name: level.bfloat16() for name, level in features(torch.float32).items()}
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(RowPooling(ordinary)(levels, *boxes), ordinary(levels, *boxes))


def test_what_has_seen_no_image_or_chooses_its_samples_does_not_suit():
    assert not RowPooling.suits(MultiScaleRoIAlign(["0"], 7, 2))
    assert not RowPooling.suits(pooling(sampling_ratio=0))
