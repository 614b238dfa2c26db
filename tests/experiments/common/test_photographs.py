"""Photographs are found by the names that annotation files give them."""

import json

import pytest
import torch
from PIL import Image

from detinv.errors import ConfigError, LayoutError
from detinv.experiments.common.photographs import read_photographs
from detinv.layouts.coco import load_coco
from detinv.layouts.layout import Layout

HEIGHT, WIDTH = 48, 64
ENTRY = {"id": 1, "category_id": 9, "bbox": [4, 6, 20, 30], "area": 600, "iscrowd": 0}


def annotated(tmp_path, *names, frame=None):
    """Layouts of a COCO file whose images have these names, in their own pixels or in another frame."""
    images = [{"id": k, "file_name": name, "height": HEIGHT, "width": WIDTH} for k, name in enumerate(names)]
    annotations = [ENTRY | {"id": k, "image_id": k} for k in range(len(names))]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 9, "name": "star"}]}
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    return load_coco(tmp_path / "annotations.json", ["star"], network_size=frame)


def photograph(path, grey, size=(WIDTH, HEIGHT)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (grey,) * 3).save(path)


@pytest.mark.parametrize(
    "names", [["a.png", "b.jpg"], ["A.JPG", "B.Png"], ["val/1.png", "train/1.png"], ["x/y/1.JPEG"]]
)
def test_photographs_are_found_by_file_name(tmp_path, names):
    for number, name in enumerate(names):
        photograph(tmp_path / "photographs" / name, 60 + number)
    # What is called like the layout is another image.
    photograph(tmp_path / "photographs" / "1.png", 255)
    layouts = annotated(tmp_path, *names)
    assert [layout.file_name for layout in layouts] == names
    images = read_photographs(tmp_path / "photographs", layouts)
    for number, image in enumerate(images):
        assert image.shape == (3, HEIGHT, WIDTH) and (image.float() - 60 - number).abs().max() <= 1


def test_a_layout_keeps_its_file_name_in_another_frame(tmp_path):
    (layout,) = annotated(tmp_path, "val/1.JPG", frame=lambda size: (2 * size[0], 2 * size[1]))
    assert layout.image_size == (2 * HEIGHT, 2 * WIDTH) and layout.file_name == "val/1.JPG"
    assert layout.without_masks().select(torch.tensor([False])).file_name == "val/1.JPG"


def plain(name):
    return Layout(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), (HEIGHT, WIDTH), name)


def test_photographs_of_layouts_by_hand_are_called_like_them(tmp_path):
    photograph(tmp_path / "mine.JPEG", 7)
    (image,) = read_photographs(tmp_path, [plain("mine")])
    assert image.shape == (3, HEIGHT, WIDTH)
    photograph(tmp_path / "mine.png", 7)
    with pytest.raises(ConfigError, match=r"both mine\.png and mine\.JPEG could be the photograph of layout mine"):
        read_photographs(tmp_path, [plain("mine")])


def test_photographs_that_cannot_be_used(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        read_photographs(tmp_path / "nowhere", annotated(tmp_path, "two.jpg"))
    with pytest.raises(ConfigError, match=r"neither two\.png nor \.jpg is the photograph of layout two"):
        read_photographs(tmp_path, [plain("two")])
    photograph(tmp_path / "tow.jpg", 7)
    with pytest.raises(ConfigError, match=r"image two\.jpg of the annotations .*did you mean 'tow\.jpg"):
        read_photographs(tmp_path, annotated(tmp_path, "two.jpg"))
    photograph(tmp_path / "two.jpg", 7, (64, 50))
    with pytest.raises(ConfigError, match=r"two\.jpg is of size \(50, 64\), but its layout two is of size \(48, 64\)"):
        read_photographs(tmp_path, annotated(tmp_path, "two.jpg"))
    with pytest.raises(LayoutError, match="leads out of"):
        read_photographs(tmp_path, annotated(tmp_path, "../two.jpg"))
