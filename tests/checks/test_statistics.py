"""What photographs show of their colours and contrast, against what a detector says of them."""

import pytest
import torch

from detinv.checks.statistics import other_statistics
from detinv.detectors.colours import COCO_COLOURS, colour_covariance, contrast
from tests.fakes import tiny_detector


def photographs(count: int = 12, std: float = 20.0) -> list[torch.Tensor]:
    """Of one colour that varies, reddish: R varies three times as much as B."""
    generator = torch.Generator().manual_seed(0)
    shades = [torch.tensor([3.0, 2.0, 1.0]).view(3, 1, 1) * torch.randn(1, 24, 32, generator=generator)] * count
    return [(128 + std * shade * (3 / 14) ** 0.5).clamp(0, 255).byte() for shade in shades]


def detector():
    found = tiny_detector("retinanet")
    found.trained_on_photographs = True
    return found


def test_what_differs_is_told_with_the_values_to_write():
    told = other_statistics(detector(), photographs())
    assert f"colour_covariance={[list(row) for row in colour_covariance(photographs())]}" in told
    assert f"contrast={contrast(photographs()):g}" in told and "these 12 images" in told


@pytest.mark.parametrize("unit", [1, 400.0])
def test_nothing_is_told_where_the_detector_says_the_same(unit: float):
    """In whatever unit its covariance is."""
    own = detector()
    own.colour_covariance = tuple(tuple(unit * one for one in row) for row in colour_covariance(photographs()))
    own.contrast = contrast(photographs())
    assert other_statistics(own, photographs()) == ""
    own.colour_covariance = COCO_COLOURS
    assert "contrast" not in other_statistics(own, photographs())
    assert "colour_covariance" in other_statistics(own, photographs())


def test_a_few_images_and_a_detector_of_drawings_say_nothing():
    assert other_statistics(detector(), photographs(11)) == ""
    drawings = detector()
    drawings.trained_on_photographs = False
    assert other_statistics(drawings, photographs()) == ""
