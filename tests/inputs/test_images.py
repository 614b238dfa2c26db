"""Photographs that a program hands over: of another kind, they are refused with the way to convert them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import detinv
from detinv.errors import ConfigError
from detinv.inputs.images import eight_bit_images
from tests.heat_map import HeatMapNetwork, TinyCenterNet

RGB = torch.zeros(3, 4, 6, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ([Image.new("RGBA", (6, 4))], r"images\[0\]: .*pil_to_tensor\(image.convert\('RGB'\)\)"),
        ([RGB, np.zeros((4, 6, 3), np.uint8)], r"images\[1\]: .*permute\(2, 0, 1\)"),
        (["photo.jpg"], "decode_image"),
        ([RGB / 255], r"by \(255 \* image\).round"),
        ([RGB.float() + 200], r"by image.round\(\).byte"),
        ([RGB.permute(1, 2, 0)], r"by image.permute\(2, 0, 1\)"),
        (RGB, "images: expected a list of images, got Tensor"),
        (Image.new("RGB", (6, 4)), "images: expected a list of images, got Image"),
    ],
)
def test_other_images_are_refused_with_their_conversion(given, problem):
    with pytest.raises(ConfigError, match=problem):
        eight_bit_images(given)


def test_images_of_a_generator_are_not_lost():
    assert len(eight_bit_images(image for image in [RGB, RGB])) == 2


class Threshold:
    """Its `detect` is checked as well where it comes before that of a detector."""

    def detect(self, images, above=0.0):
        return [replace(one, scores=one.scores + above) for one in super().detect(images)]


class Mixed(Threshold, TinyCenterNet):
    pass


@pytest.mark.parametrize("scale", [1, 255])
@pytest.mark.parametrize("kind", [TinyCenterNet, type("Derived", (TinyCenterNet,), {}), Mixed])
def test_a_detector_of_ones_own_is_given_no_other_images(kind, scale):
    detector = kind(HeatMapNetwork())
    with pytest.raises(ConfigError, match=r"images\[1\]: .* got float32"):
        detector.detect([RGB, torch.rand(3, 4, 6) * scale])


def test_what_detect_takes_beside_images_is_handed_on():
    detector = Mixed(HeatMapNetwork())
    # Whatever it is given as, and beside it.
    usual, raised = detector.detect(image for image in [RGB]), detector.detect(images=[RGB], above=0.5)
    assert torch.equal(raised[0].scores, usual[0].scores + 0.5)


def test_rows_are_located_in_no_other_images():
    detector = TinyCenterNet(HeatMapNetwork())
    with pytest.raises(ConfigError, match=r"images\[0\]: .* got float32"):
        detinv.locate_rows(detector, [RGB / 255], detector.detect([RGB]))
