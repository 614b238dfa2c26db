"""Layout sources: what configs/layout describes, built by Hydra and asked for layouts."""

import json
from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import MissingMandatoryValue, OmegaConf

from detinv.detectors.class_names import COCO_CLASSES
from detinv.errors import LayoutError
from detinv.layouts.sources import CocoLayouts, FileLayouts
from detinv.worlds.plain import PlainWorld

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "layout"


def doubled(size):
    return (2 * size[0], 2 * size[1])


def build(name, **options):
    return instantiate(OmegaConf.merge(OmegaConf.load(CONFIGS / f"{name}.yaml"), options))


@pytest.fixture
def annotations(tmp_path):
    path = tmp_path / "few.json"
    path.write_text(
        json.dumps(
            {
                "images": [{"id": k, "file_name": f"{k}.jpg", "height": 20, "width": 30} for k in range(4)],
                "categories": [{"id": 3, "name": "star"}],
                "annotations": [
                    {"id": k, "image_id": k, "category_id": 3, "bbox": [1, 2, 10, 10], "iscrowd": 0} for k in range(4)
                ],
            }
        )
    )
    return path


def test_coco_source(annotations):
    source = build("coco", annotations=str(annotations), count=2, seed=4)
    layouts = source.layouts(("circle", "star"), doubled, 100)
    assert len(layouts) == 2 and layouts[0].image_size == (40, 60)
    assert layouts[0].labels.tolist() == [1] and layouts[0].boxes.tolist() == [[2, 4, 22, 24]]
    chosen = build("coco", annotations=str(annotations), image_ids=[2, 0]).layouts(("star",), doubled, 100)
    assert [layout.id for layout in chosen] == ["2", "0"]


def test_coco_source_needs_a_file():
    with pytest.raises(MissingMandatoryValue):
        instantiate(OmegaConf.load(CONFIGS / "coco.yaml"))
    with pytest.raises(LayoutError, match="nowhere.json: no such"):
        CocoLayouts("nowhere.json").layouts(("star",), doubled, 100)


def test_file_source_resizes_and_limits(tmp_path):
    path = tmp_path / "two.yaml"
    path.write_text("- {label: star, box: [1, 2, 3, 4]}\n- {label: star, box: [5, 2, 7, 4]}\n")
    source = build("file", path=str(path), image_size=[10, 12])
    (layout,) = source.layouts(("star",), doubled, 2)
    assert layout.image_size == (20, 24) and layout.boxes[0].tolist() == [2, 4, 6, 8]
    with pytest.raises(LayoutError, match="two.yaml: layout two: 2 objects, larger than the detector allows"):
        source.layouts(("star",), doubled, 1)


def test_sample_is_a_plain_layout():
    (layout,) = build("sample").layouts(PlainWorld.class_names, lambda size: size, 100)
    assert layout.image_size == (128, 128) and 4 <= len(layout) <= 6
    assert len(set(layout.labels.tolist())) == len(layout)


def test_sample_has_classes_of_the_detector():
    (layout,) = build("sample").layouts(COCO_CLASSES, lambda size: size, 100)
    assert layout.id == "animals" and layout.image_size == (416, 416)
    assert "zebra" in [COCO_CLASSES[label] for label in layout.labels]
    with pytest.raises(
        LayoutError, match=r"layout=sample: no sample has classes of this detector, .* RBC, WBC; choose"
    ):
        build("sample").layouts(("RBC", "WBC"), doubled, 100)


@pytest.mark.parametrize("name", ["animals", "beach", "farm", "street", "table"])
def test_samples_of_cocos_classes(name):
    (layout,) = FileLayouts(f"sample:{name}").layouts(COCO_CLASSES, lambda size: size, 100)
    assert layout.id == name and layout.image_size == (416, 416) and len(layout) >= 4
    assert ((layout.boxes[:, 2:] - layout.boxes[:, :2]).prod(1) > 32**2).all()


def test_a_sample_needs_a_detector_of_its_classes():
    with pytest.raises(LayoutError, match=r"plain.yaml: object 1: unknown class 'star' .*RBC"):
        FileLayouts("sample:plain").layouts(("RBC", "WBC"), doubled, 100)


def test_unknown_sample_names_those_there_are():
    with pytest.raises(
        LayoutError, match=r"sample:plane: no such sample; did you mean 'plain'\? \(there are animals, .*, plain, "
    ):
        FileLayouts("sample:plane").layouts(("star",), doubled, 100)


def test_source_of_a_world():
    layouts = build("world", world="plain", count=3, seed=1).layouts(PlainWorld.class_names, doubled, 100)
    assert len(layouts) == 3 and all(layout.image_size == (256, 256) for layout in layouts)
    assert len({layout.id for layout in layouts}) == 3
