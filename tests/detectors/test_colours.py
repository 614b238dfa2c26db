"""The covariance of colours: measured on images, and checked where it is given."""

import numpy as np
import pytest
import torch

from detinv.config.composition.compose import compose_config
from detinv.detectors.colours import COCO_COLOURS, checked_colours, colour_covariance
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


def test_images_that_say_nothing_are_refused():
    with pytest.raises(DetectorError, match="there are no images"):
        colour_covariance([])
    with pytest.raises(DetectorError, match="of a single colour"):
        colour_covariance([torch.full((3, 8, 8), 7, dtype=torch.uint8)])


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
