"""Class names: one by one, COCO's, or from a file."""

import pytest

from detinv.detectors.class_names import COCO_CLASSES, read_class_names
from detinv.errors import DetectorError


def test_cocos_are_torchvisions_without_the_unused():
    from torchvision.models.detection import RetinaNet_ResNet50_FPN_Weights

    categories = RetinaNet_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    assert tuple(name for name in categories if name not in ("__background__", "N/A")) == COCO_CLASSES
    assert read_class_names("coco") == COCO_CLASSES


def test_a_file_has_one_a_line(tmp_path):
    (tmp_path / "names.txt").write_text("wine glass\n\n  cup \n")
    assert read_class_names(str(tmp_path / "names.txt")) == ("wine glass", "cup")
    assert read_class_names(["x", "y"]) == ("x", "y")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("nowhere.txt", "neither a list, nor 'coco'"),
        ("data.yaml", "class_names=data.yaml: give a text file with one name a line, not .yaml"),
        (["a", "b", "a"], "'a' occurs twice"),
        ([], "at least one"),
        (["a", ""], "none may be empty"),
    ],
)
def test_what_cannot_be_names_is_said(names, message):
    with pytest.raises(DetectorError, match=message):
        read_class_names(names)
