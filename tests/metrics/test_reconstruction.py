import math

import numpy as np
import pytest
import torch

from detinv.metrics.reconstruction import image_similarity
from tests.fakes import block_image

SIZE = (24, 32)
REGION = torch.zeros(SIZE, dtype=torch.bool)
REGION[3:17, 5:20] = True


def test_nearness_against_numpy():
    image, other = block_image(SIZE, 0), block_image(SIZE, 1)
    first, second = (pixels[:, 3:17, 5:20].reshape(3, -1).double().numpy() / 255 for pixels in (image, other))
    found = image_similarity(image, other, REGION)
    assert found.rmse == pytest.approx(np.sqrt(np.mean((first - second) ** 2)))
    centred = [values - values.mean(1, keepdims=True) for values in (first, second)]
    assert found.correlation == pytest.approx(np.corrcoef(*(values.ravel() for values in centred))[0, 1])


def test_what_lies_outside_the_region_does_not_count():
    image, other = block_image(SIZE, 0), block_image(SIZE, 1)
    mixed = torch.where(REGION, image, other)
    assert image_similarity(image, mixed, REGION) == pytest.approx((0, 1))
    assert image_similarity(image, mixed, ~REGION) == image_similarity(image, other, ~REGION)


def test_another_colour_leaves_the_correlation_and_shows_in_the_difference():
    image = block_image(SIZE) // 2
    tinted = image + torch.tensor([51, 0, 102], dtype=torch.uint8)[:, None, None]
    found = image_similarity(image, tinted, REGION)
    assert found.correlation == pytest.approx(1)
    assert found.rmse == pytest.approx(math.sqrt((0.2**2 + 0.4**2) / 3))


def test_an_empty_region_and_a_flat_image():
    image = block_image(SIZE)
    assert all(math.isnan(value) for value in image_similarity(image, image, torch.zeros_like(REGION)))
    assert math.isnan(image_similarity(image, torch.full_like(image, 9), REGION).correlation)
