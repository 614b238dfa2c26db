import numpy as np
import pytest
import torch

from detinv.viz.grid import image_grid


def test_image_grid_places_images_row_by_row() -> None:
    images = [torch.full((3, 4, 5), 10 * k, dtype=torch.uint8) for k in range(5)]
    grid = image_grid(images, columns=2, gap=1)
    assert grid.shape == (3 * 5 - 1, 2 * 6 - 1, 3)
    assert (grid[5:9, 6:11] == 30).all()
    assert (grid[10:, 6:] == 255).all()


def test_image_grid_is_capped_and_nearly_square() -> None:
    images = [torch.zeros(3, 8, 8, dtype=torch.uint8)] * 40
    assert image_grid(images, max_images=9, gap=0).shape == (24, 24, 3)
    assert image_grid(images[:2], gap=0, scale=2).shape == (16, 32, 3)


def test_image_grid_takes_images_of_different_sizes() -> None:
    small, large = torch.zeros(3, 2, 3, dtype=torch.uint8), torch.zeros(3, 6, 4, dtype=torch.uint8)
    grid = image_grid([small, large], columns=1, gap=2)
    assert grid.shape == (14, 4, 3)
    assert np.array_equal((grid == 0).all(-1).sum(), 6 + 24)


def test_image_grid_needs_an_image() -> None:
    with pytest.raises(ValueError, match="at least one"):
        image_grid([])
