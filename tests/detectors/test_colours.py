"""The covariance of colours: measured on images, and checked where it is given."""

import numpy as np
import pytest
import torch

from detinv.config.composition.compose import compose_config
from detinv.detectors.colours import (
    COCO_COLOURS,
    COCO_CONTRAST,
    checked_colours,
    checked_contrast,
    colour_covariance,
    contrast,
)
from detinv.detectors.load import load_detector
from detinv.errors import DetectorError
from detinv.inversion.modules.ensemble import Ensemble


def images(seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(256, (3, *size), generator=generator).byte() for size in ((20, 30), (9, 7))]


def test_it_is_the_mean_of_what_numpy_finds_in_each_image():
    found = [np.cov(image.flatten(1).numpy()) for image in images()]
    mean = np.mean(found, axis=0)
    np.testing.assert_allclose(colour_covariance(images()), mean * 3 / np.trace(mean), atol=0.006)


def test_the_contrast_is_the_mean_variance_that_numpy_finds():
    variances = [image.flatten(1).double().numpy().var(axis=1, ddof=1).mean() for image in images()]
    assert contrast(images()) == pytest.approx(np.sqrt(np.mean(variances)) / 255, abs=0.0006)


@pytest.mark.parametrize("measure", [colour_covariance, contrast])
def test_images_that_say_nothing_are_refused(measure):
    with pytest.raises(DetectorError, match=f"{measure.__name__}: there are no images"):
        measure([])
    with pytest.raises(DetectorError, match="of a single colour"):
        measure([torch.full((3, 8, 8), 7, dtype=torch.uint8)])


@pytest.mark.parametrize("value", [0, -0.1, 1.2, 20, float("nan"), True, "0.1", None])
def test_what_is_no_contrast_is_refused(value):
    with pytest.raises(DetectorError, match="a number above 0 and at most 1"):
        checked_contrast(value)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([[1, 0], [0, 1]], "three rows of three"),
        ([[1, 0, 0, 0]] * 3, "three rows of three"),
        ([[1, 0.5, 0], [0, 1, 0], [0, 0, 1]], "symmetric"),
        ([[1, 2, 0], [2, 1, 0], [0, 0, 1]], "no negative eigenvalue"),
        ([[0, 0, 0], [0, 0, 0], [0, 0, 0]], "must be positive"),
    ],
)
def test_what_is_no_covariance_is_refused(rows, reason):
    with pytest.raises(DetectorError, match=reason):
        checked_colours(rows)


def test_detectors_have_their_own():
    blood, shapes = load_detector("bccd_retinanet"), load_detector("shapes_retinanet")
    assert shapes.colour_covariance == COCO_COLOURS
    assert blood.colour_covariance != COCO_COLOURS
    assert Ensemble({"blood": blood}).colour_covariance == blood.colour_covariance
    assert (shapes.contrast, blood.contrast) == (COCO_CONTRAST, 0.08)
    given = compose_config(
        "invert", ["detector=bccd_retinanet", "detector.colour_covariance=[[1,0,0],[0,1,0],[0,0,1]]"]
    )
    assert given.detector.colour_covariance == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_what_a_class_sets_is_checked_before_the_first_step():
    detector = load_detector("shapes_retinanet")
    detector.colour_covariance = [[2, 1, 0], [1, 2, 0], [0, 0, 1]]
    assert Ensemble({"own": detector}).colour_covariance == ((2, 1, 0), (1, 2, 0), (0, 0, 1))
    detector.colour_covariance = [[1, 2], [2, 1]]
    with pytest.raises(DetectorError, match="three rows of three"):
        Ensemble({"own": detector})
    detector.colour_covariance, detector.contrast = COCO_COLOURS, 61
    with pytest.raises(DetectorError, match="contrast=61"):
        Ensemble({"own": detector})
