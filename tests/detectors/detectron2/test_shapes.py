"""Detectron2's models with the bundled weights find what torchvision's do: its adapters read both libraries alike."""

import warnings

import pytest
import torch

from detinv.detectors.load import load_detector
from detinv.detectors.regions import Regions
from detinv.layouts.boxes import pairwise_iou
from detinv.worlds.plain import PlainWorld

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what torch says about how Detectron2 is made
    pytest.importorskip("detectron2.modeling", reason="needs Detectron2, see its own guide")
    from tests.detectors.detectron2.shapes import as_detectron2

pytestmark = pytest.mark.detectron2

REGIONS = Regions.of(torch.tensor([[[4.0, 6, 40, 50], [10, 10, 100, 110], [60, 70, 75, 90]]]))


@pytest.fixture(params=["retinanet", "fcos", "fasterrcnn", "maskrcnn"])
def both(request):
    """A bundled detector in torchvision's model and in Detectron2's."""
    ours = load_detector(f"shapes_{request.param}")
    return ours, as_detectron2(ours)


def test_raw_predictions_are_torchvisions(both):
    image = PlainWorld(seed=5).scene(0).image
    wanted, found = (one(image[None] / 255, [(128, 128)], REGIONS) for one in both)
    torch.testing.assert_close(found.dense.boxes(), wanted.dense.boxes(), atol=1e-3, rtol=0)
    torch.testing.assert_close(found.outputs(), wanted.outputs(), atol=1e-3, rtol=0)


def test_sure_detections_are_torchvisions(both):
    number = 0
    for scene in map(PlainWorld(seed=5).scene, range(4)):
        wanted, found = (one.detect([scene.image])[0].above(0.5) for one in both)
        assert found.labels.tolist() == wanted.labels.tolist()
        torch.testing.assert_close(found.scores, wanted.scores, atol=1e-4, rtol=0)
        assert pairwise_iou(found.boxes, wanted.boxes).diagonal().min() > 0.999
        number += len(found)
    assert number >= 4
