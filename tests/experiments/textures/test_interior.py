"""Shuffled windows and blur within the mask, against plain loops."""

import math

import pytest
import torch

from detinv.errors import ConfigError
from detinv.experiments.textures.interior import InteriorBlur, PatchShuffle
from tests.fakes import block_image

STYLE = torch.zeros(3, 4, 4, dtype=torch.uint8)


def places(height, width):
    """An image whose red and green say where a pixel came from."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([y, x, torch.zeros_like(y)]).to(torch.uint8)


def disc(height, width, radius):
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return (y - height / 2) ** 2 + (x - width / 2) ** 2 < radius**2


def shuffled(mask, side, seed=0):
    made = PatchShuffle(side)(places(*mask.shape), mask[None], STYLE, torch.Generator().manual_seed(seed))
    return made[0].long()


@pytest.mark.parametrize("side", [1, 4, 7])
def test_every_pixel_comes_from_inside_the_mask_and_windows_are_whole(side):
    mask = disc(40, 50, 15)
    made = shuffled(mask, side)
    assert mask[made[0][mask], made[1][mask]].all()
    ys, xs = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
    top, left, bottom, right = int(ys[0]), int(xs[0]), int(ys[-1]), int(xs[-1])
    origins = set()
    for y in range(top, bottom + 1):
        for x in range(left, right + 1):
            cell_y, cell_x = y - (y - top) % side, x - (x - left) % side
            origin = made[:, cell_y, cell_x]
            assert made[0, y, x] - origin[0] == y - cell_y
            assert made[1, y, x] - origin[1] == x - cell_x
            origins.add((int(origin[0]), int(origin[1])))
    assert len(origins) > 8


def test_thin_objects_get_smaller_windows():
    mask = torch.zeros(30, 30, dtype=torch.bool)
    mask[5:25, 10:13] = True
    made = shuffled(mask, 8)
    assert mask[made[0][mask], made[1][mask]].all()
    one = torch.zeros(30, 30, dtype=torch.bool)
    one[7, 9] = True
    assert shuffled(one, 8)[:2, 7, 9].tolist() == [7, 9]


def test_a_mask_as_large_as_the_image():
    assert PatchShuffle(64)(places(9, 6), torch.ones(1, 9, 6, dtype=torch.bool), STYLE, torch.Generator()).shape[0] == 1


def test_blur_is_the_weighted_mean_over_the_mask():
    image, mask = block_image((18, 15)), disc(18, 15, 6)
    mask[8:10, 5:8] = False
    made = InteriorBlur(0.2)(image, mask[None], STYLE, torch.Generator())[0]
    sigma = 0.2 * math.sqrt(int(mask.sum()))
    radius = int(4 * sigma + 0.5)
    inside = mask.nonzero().tolist()
    for y, x in inside:
        sums, total = torch.zeros(3, dtype=torch.float64), 0.0
        for v, u in inside:
            if abs(v - y) <= radius and abs(u - x) <= radius:
                weight = math.exp(-((v - y) ** 2 + (u - x) ** 2) / (2 * sigma**2))
                sums += weight * image[:, v, u].double()
                total += weight
        torch.testing.assert_close(made[:, y, x].double(), sums / total, atol=0.51, rtol=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PatchShuffle(0), r"side=0: choose at least 1"),
        (lambda: InteriorBlur(0.0), r"share=0.0: choose a number above 0"),
        (lambda: InteriorBlur(float("nan")), r"share=nan"),
    ],
)
def test_options_that_mean_nothing(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
