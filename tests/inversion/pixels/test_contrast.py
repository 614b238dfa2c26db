"""The limit of an image's contrast: what it leaves, what it keeps, and when a detector has one."""

import math

import numpy as np
import pytest
import torch

from detinv.inversion.modules.ensemble import Ensemble
from detinv.inversion.pixels.pixels import RawPixels
from detinv.inversion.preset import load_preset
from detinv.inversion.run import invert
from detinv.layouts.batch import LayoutBatch
from detinv.layouts.layout import Layout
from tests.fakes import tiny_detector

SIZES = [(24, 32), (13, 20), (24, 9)]


def pixels(sizes=SIZES, std: float = 0.15, most: float = math.inf) -> RawPixels:
    layouts = [Layout(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), size, f"{size}") for size in sizes]
    found = RawPixels(LayoutBatch.collate(layouts), torch.tensor([0.3, 0.5, 0.6]), 0, std)
    found.most_contrast = most
    return found


def cropped(found: RawPixels) -> list[np.ndarray]:
    return [
        image[:, :height, :width].double().numpy()
        for image, (height, width) in zip(found().detach(), found.image_sizes.tolist(), strict=True)
    ]


def test_every_image_of_a_padded_batch_is_drawn_to_its_own_colour():
    """By NumPy, image by image: the mean stays, and deviations shrink alike."""
    before = cropped(limited := pixels(most=0.1))
    limited.limit_contrast_()
    for image, found in zip(before, cropped(limited), strict=True):
        mean = image.mean((1, 2), keepdims=True)
        contrast = math.sqrt(image.var((1, 2)).mean())
        assert contrast > 0.12
        np.testing.assert_allclose(found, mean + (image - mean) * 0.1 / contrast, atol=1e-6)


@pytest.mark.parametrize("most", [0.3, math.inf])
def test_images_of_less_contrast_keep_every_bit(most: float):
    limited = pixels(most=most)
    before = limited.values.detach().clone()
    limited.limit_contrast_()
    assert torch.equal(limited.values, before)


def test_an_image_of_one_colour_keeps_it():
    limited = pixels(std=0.0, most=0.1)
    limited.limit_contrast_()
    assert torch.equal(limited.values, torch.zeros_like(limited.values))


def test_an_image_does_not_depend_on_its_batch():
    together, alone = pixels([(24, 32)] * 3, most=0.1), pixels([(24, 32)], most=0.1)
    with torch.no_grad():
        together.values[0] *= 2
        alone.values.copy_(together.values[1:2])
    together.limit_contrast_()
    alone.limit_contrast_()
    assert torch.equal(together.values[1:2], alone.values)


def test_inversions_have_at_most_the_contrast_of_the_photographs():
    """Rounding to 8 bit aside; a detector of drawings is not held to it."""
    layout = Layout(torch.tensor([[8.0, 8, 40, 40]]), torch.tensor([0]), (64, 64), "one")
    found = []
    for photographs in (True, False):
        detector = tiny_detector("retinanet")
        detector.contrast, detector.trained_on_photographs = 0.01, photographs
        image = invert(detector, [layout], load_preset("photographs"), steps=12, progress=False).images[0]
        found.append(float(image.double().flatten(1).var(1).mean().sqrt()) / 255)
    assert found[0] < 0.0105
    assert found[1] > 0.0130


def test_an_ensemble_has_that_of_its_detector_of_photographs():
    drawings, photographs = tiny_detector("retinanet"), tiny_detector("fcos")
    drawings.trained_on_photographs, photographs.contrast = False, 0.07
    assert Ensemble({"one": drawings, "other": photographs}).contrast == 0.07
