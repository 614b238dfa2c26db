"""Spectra as parameters, for detectors of any mean colour."""

import pytest
import torch

from detinv.inversion.pixels.pixels import FourierPixels
from detinv.layouts.batch import LayoutBatch
from detinv.layouts.layout import Layout


@pytest.mark.parametrize("mean", [0.0, 0.5, 1.0])
def test_pixels_and_gradient_are_finite_for_any_mean_colour(mean):
    layout = Layout(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), (16, 16), "empty")
    pixels = FourierPixels(LayoutBatch.collate([layout]), torch.full((3,), mean), seed=0, start_std=0.05)
    image = pixels()
    image.sum().backward()
    assert image.isfinite().all() and pixels.values.grad.isfinite().all()
    assert image.min() >= 0 and image.max() <= 1
    assert (image - mean).abs().mean() < 0.1
