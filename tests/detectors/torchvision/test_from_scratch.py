"""Normalisation in weights of one's own: frozen where it was frozen while they were trained, and not otherwise."""

import pytest
import torch
from torch import nn
from torchvision.models import get_model
from torchvision.ops import FrozenBatchNorm2d

from detinv.detectors.load import load_detector
from detinv.detectors.torchvision.load import load_torchvision
from detinv.detectors.torchvision.random_weights import randomise_weights
from detinv.zoo.weights import weight_hash
from tests.fakes import block_image

SMALL_RCNN = "fasterrcnn_mobilenet_v3_large_320_fpn"


# One of each way of building: ResNet with frozen epsilon 0, and MobileNet, whose epsilon is 1e-3 when not frozen.
@pytest.mark.parametrize("architecture", [pytest.param("retinanet_resnet50_fpn", marks=pytest.mark.slow), SMALL_RCNN])
def test_weights_trained_from_scratch_keep_their_normalisation(architecture, tmp_path, caplog):
    """Variances are as small as epsilon, so that another epsilon would show."""
    model = get_model(architecture, weights=None, weights_backbone=None, num_classes=3)
    randomise_weights(model)
    with torch.no_grad():
        for part in model.backbone.modules():
            if isinstance(part, nn.BatchNorm2d):
                # The same function but for epsilon.
                part.running_var *= 1e-4
                part.weight *= 1e-2
                part.running_mean.zero_()
    height, width = (64, 96) if architecture.startswith("retinanet") else (192, 256)
    model.eval().transform.min_size, model.transform.max_size = (height,), width
    torch.save({"model": {f"module.{key}": value for key, value in model.state_dict().items()}}, tmp_path / "w.pth")
    image = block_image((height, width))
    with torch.no_grad():
        (wanted,) = model([image.float() / 255])
    names = ["a", "b", "c"] if architecture.startswith("retinanet") else ["a", "b"]
    options = {"class_names": names, "num_columns": 3, "image_size": [height, width]}
    detector = load_detector(architecture, tmp_path / "w.pth", **options)
    (found,) = detector.detect([image])
    assert len(found) == len(wanted["scores"]) > 0
    assert torch.allclose(found.boxes, wanted["boxes"], atol=1e-3)
    assert torch.allclose(found.scores, wanted["scores"], atol=1e-5)
    assert "w.pth: trained with normalisation that was not frozen" in caplog.text


def test_weights_with_frozen_normalisation_stay_frozen(tmp_path, caplog):
    detector = load_torchvision(SMALL_RCNN, weights="random")
    torch.save(detector.model.state_dict(), tmp_path / "w.pth")
    loaded = load_torchvision(SMALL_RCNN, weights=str(tmp_path / "w.pth"))
    assert any(isinstance(part, FrozenBatchNorm2d) for part in loaded.model.modules())
    assert not any(isinstance(part, nn.BatchNorm2d) for part in loaded.model.modules())
    assert weight_hash(loaded.model) == weight_hash(detector.model) and not caplog.records
