import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detinv.viz.image import contrast_limits, display_scale, rescale, scale_within, stretch_contrast


def test_stretch_contrast_moves_the_percentiles_to_the_ends() -> None:
    image = torch.randint(100, 140, (3, 40, 30), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    low, high = contrast_limits(image)
    stretched = stretch_contrast(image)
    # Slow reference.
    for value in (100, 110, 125, 139):
        expected = min(max(round((value - low) * 255 / (high - low)), 0), 255)
        assert set(stretched[image == value].tolist()) == {expected}
    assert stretched.min() == 0 and stretched.max() == 255


def test_stretch_contrast_keeps_a_constant_image() -> None:
    image = torch.full((3, 8, 8), 77, dtype=torch.uint8)
    assert torch.equal(stretch_contrast(image), image)


def test_rescale_repeats_pixels_exactly() -> None:
    image = torch.randint(0, 256, (3, 5, 7), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    picture = rescale(image, 3)
    assert picture.shape == (15, 21, 3)
    for k in range(9):
        assert np.array_equal(picture[k // 3 :: 3, k % 3 :: 3], image.permute(1, 2, 0).numpy())


def test_rescale_reduces_by_means() -> None:
    image = torch.tensor([[0, 100], [50, 250]], dtype=torch.uint8).expand(3, 2, 2)
    assert rescale(image, 0.5).tolist() == [[[100, 100, 100]]]


@pytest.mark.parametrize("scale", [0, -1, 1.5])
def test_rescale_rejects_uneven_enlargement(scale: float) -> None:
    with pytest.raises(ValueError, match="whole number"):
        rescale(torch.zeros(3, 4, 4, dtype=torch.uint8), scale)


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_display_scale_gives_a_picture_of_moderate_size(height: int, width: int) -> None:
    scale = display_scale((height, width))
    assert scale == int(scale) or scale < 1
    assert 191 <= scale * max(height, width) <= 577


@pytest.mark.parametrize(
    ("size", "side", "wanted"), [((128, 100), 256, 2), ((128, 100), 255, 1), ((100, 512), 256, 0.5), ((256, 9), 256, 1)]
)
def test_scale_within_enlarges_by_whole_numbers_and_reduces_to_the_side(size, side, wanted) -> None:
    assert scale_within(size, side) == wanted
