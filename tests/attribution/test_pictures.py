"""Maps on their photographs."""

import numpy as np
import pytest
import torch

from detinv.attribution.pictures import heat_picture


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
