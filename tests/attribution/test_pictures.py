"""Maps on their photographs."""

import numpy as np
import pytest
import torch

from detinv.attribution.attribution import Attribution
from detinv.attribution.pictures import attribution_sheet, heat_picture, object_picture


@pytest.mark.parametrize("signed", [False, True])
def test_single_pixels_are_as_strong_in_a_small_picture_as_in_a_large_one(signed: bool):
    photograph, heat = torch.full((3, 256, 256), 128, dtype=torch.uint8), torch.zeros(256, 256)
    heat[100, 60] = 2e-4
    large, small = (heat_picture(photograph, heat, None, signed=signed, side=side) for side in (0, 32))
    assert small.shape == (32, 32, 3)
    strengths = [np.abs(picture.astype(int) - 128).max() for picture in (large, small)]
    assert strengths[0] == strengths[1] > 80
    empty = heat_picture(photograph, torch.zeros(256, 256), None, signed=signed, side=32)
    assert (empty == 128).all()


@pytest.mark.parametrize(("height", "width"), [(20, 540), (540, 20), (40, 1080), (6, 6)])
def test_a_small_box_leaves_the_map_in_it_visible(height: int, width: int):
    photograph, heat = torch.full((3, height, width), 128, dtype=torch.uint8), torch.ones(height, width)
    plain = heat_picture(photograph, heat, None, signed=False)
    boxed = heat_picture(photograph, heat, (0, 0, min(width, 12), min(height, 12)), signed=False)
    differ = (plain != boxed).any(-1)
    assert not differ[:12, :12].any() and differ.any() == (max(height, width) > 12)


@pytest.mark.parametrize(("side", "line"), [(256, 1), (1024, 2), (2048, 4)])
def test_lines_are_as_wide_as_the_picture_asks_for(side: int, line: int):
    photograph, heat = torch.full((3, side, side), 128, dtype=torch.uint8), torch.zeros(side, side)
    drawn = heat_picture(photograph, heat, (side / 4, side / 4, side / 2, side / 2), signed=False)
    across = drawn[side * 3 // 8, :, 0]
    assert (across == 255).sum() == (across == 0).sum() == 2 * line


@pytest.mark.parametrize(
    ("height", "width", "shown"), [(20, 540, (20, 540)), (300, 400, (192, 256)), (9, 900, (9, 900))]
)
def test_long_and_narrow_photographs_are_drawn_larger(height, width, shown):
    map_ = torch.ones(2, 2)
    about = {"object": 0, "label": 0, "score": 0.9, "question": "class", "against": None, "value": 1.0}
    about |= {"method": "default", "layer": "p3", "signed": False, "class_names": ("star",), "seed": 0, "image": 0}
    photograph, box = torch.full((3, height, width), 128, dtype=torch.uint8), (0.0, 0.0, 4.0, 4.0)
    one = Attribution(box=box, map=map_, extent=(0, 0, width, height), photograph=photograph, **about)
    assert object_picture(one).shape == (*shown, 3)
    assert attribution_sheet([one]).shape[1] > 2 * shown[1]
