"""Captioned grids and close-ups."""

import numpy as np
import pytest
import torch

from detinv.viz.captioned import Captioned, captioned_grid, close_up
from tests.fakes import block_image


def filled(value, height=20, width=30):
    return np.full((height, width, 3), value, dtype=np.uint8)


def test_every_picture_is_there_with_ink_below():
    grid = captioned_grid([Captioned([filled(90), filled(120)], ["one", "two"]), Captioned([filled(150)], ["three"])])
    for value in (90, 120, 150):
        assert (grid == value).all(-1).sum() == 20 * 30
    bottom = np.argwhere((grid == 90).all(-1))[:, 0].max()
    assert (grid[bottom + 1 :] < 60).all(-1).any()
    assert not (grid[: bottom + 1] < 60).all(-1).any()


def test_rows_are_filled_one_after_the_other():
    grid = captioned_grid([Captioned([filled(value)], []) for value in (80, 100, 120)], columns=2)
    corners = {value: np.argwhere((grid == value).all(-1)).min(0) for value in (80, 100, 120)}
    assert corners[80][0] == corners[100][0] < corners[120][0]
    assert corners[80][1] == corners[120][1] < corners[100][1]


def test_a_grid_of_nothing():
    with pytest.raises(ValueError, match="at least one cell"):
        captioned_grid([])
    with pytest.raises(ValueError, match="each cell a picture"):
        captioned_grid([Captioned([], ["text"])])


@pytest.mark.parametrize("box", [(0.0, 0, 10, 10), (50.0, 40, 60, 60), (100.0, 90, 128, 96)])
def test_a_view_of_a_small_box_lies_in_the_image_and_shows_all_of_it(box):
    y, x = torch.meshgrid(torch.arange(96), torch.arange(128), indexing="ij")
    image = torch.stack([y, x, torch.full_like(y, 7)]).to(torch.uint8)
    view = close_up(image, box, side=96, least=48)
    assert view.shape == (96, 96, 3)
    assert (view[..., 2] == 7).all(), "white where the image ends, though the view fits into it"
    assert view[..., 0].min() <= box[1] and view[..., 0].max() >= box[3] - 1
    assert view[..., 1].min() <= box[0] and view[..., 1].max() >= box[2] - 1


def test_a_view_of_a_wide_image_is_centred_on_white():
    view = close_up(torch.full((3, 40, 80), 50, dtype=torch.uint8), (0.0, 0, 80, 40), side=80)
    assert (view[20:60] == 50).all()
    assert (view[:20] == 255).all() and (view[60:] == 255).all()


def test_pixels_are_repeated_not_mixed():
    image = block_image((48, 48))
    view = close_up(image, (0.0, 0, 48, 48), side=96)
    assert view[::2, ::2].tolist() == image.permute(1, 2, 0).tolist()
