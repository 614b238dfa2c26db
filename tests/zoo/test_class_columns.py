"""Weights of another number of classes: the message has both numbers."""

import pytest
import torch
from torchvision.models import get_model

from detinv.detectors.load import load_detector
from detinv.errors import DetectorError
from detinv.zoo.class_columns import ClassColumns
from detinv.zoo.models import build_fasterrcnn, build_fcos, build_maskrcnn, build_retinanet
from detinv.zoo.weights import bundled_weights, save_weights

BUNDLED = {
    "shapes_retinanet": lambda k: build_retinanet(k, (128, 128)),
    "shapes_fcos": lambda k: build_fcos(k, (128, 128)),
    "shapes_fasterrcnn": lambda k: build_fasterrcnn(k, (128, 128)),
    "shapes_maskrcnn": lambda k: build_maskrcnn(k, (128, 128)),
}


@pytest.mark.parametrize("name", BUNDLED)
@pytest.mark.parametrize("count", [1, 8, 80])
def test_bundled_detectors_say_both_numbers(name, count, tmp_path):
    save_weights(BUNDLED[name](count), tmp_path / "w.safetensors", {})
    message = f"the file has {count} classes, the detector has 7$"
    with pytest.raises(DetectorError, match=message):
        load_detector(name, tmp_path / "w.safetensors")


@pytest.mark.parametrize("architecture", ["ssdlite320_mobilenet_v3_large", "fasterrcnn_mobilenet_v3_large_320_fpn"])
def test_torchvision_s_detectors_say_both_numbers_of_columns(architecture, tmp_path):
    model = get_model(architecture, weights=None, weights_backbone=None, num_classes=4)
    torch.save({f"model.{key}": value for key, value in model.state_dict().items()}, tmp_path / "w.pth")
    message = "the file has 4 columns of classes, the detector has 91: set detector.num_columns=4, and class_names"
    with pytest.raises(DetectorError, match=message):
        load_detector(architecture, tmp_path / "w.pth")


def test_another_architecture_says_no_numbers(tmp_path):
    with pytest.raises(DetectorError, match="give the weights of this architecture"):
        load_detector("shapes_retinanet", bundled_weights("shapes_fcos"))


def state(rows: int, key: str = "head.cls_score.bias") -> dict[str, torch.Tensor]:
    return {key: torch.zeros(rows), "other.bias": torch.zeros(rows)}


def test_rows_are_anchors_times_columns():
    columns = ClassColumns(5)
    assert "has 80 classes, the detector has 5" in columns.difference(state(45), state(720))
    assert "has 79 classes, the detector has 4" in ClassColumns(5, background=1).difference(state(5), state(80))
    assert "has 3 classes" in columns.difference(state(5, "model.22.cv3.0.2.bias"), state(3, "model.22.cv3.0.2.bias"))
    # Equal numbers, another number of anchors, a layer that scores no classes, another shape altogether.
    assert not columns.difference(state(45), state(45))
    assert not columns.difference(state(45), state(44))
    assert not columns.difference(state(45, "box.bias"), state(720, "box.bias"))
    assert not columns.difference(state(45), {"head.cls_score.bias": torch.zeros(5, 144)})
    assert not columns.difference(state(45), {})
