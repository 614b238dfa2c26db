"""Exports of annotation programs: the same two objects, however each of them writes them."""

import json
from pathlib import Path

import pytest
import torch

from detinv.errors import ConfigError, LayoutError
from detinv.layouts.coco import load_coco
from detinv.layouts.layout import Detections
from detinv.metrics.coco_ap import coco_results
from detinv.metrics.coco_truth import load_annotated
from detinv.results.io.images import read_images
from tests.inputs.files import exports

WITH_MASKS = {
    "cvat_polygons": 20 * 21,
    "fiftyone_masks": 20 * 21,
    "via": 20 * 21,
    "sam": 20 * 21,
    "detectron2_converted": 20 * 21,
}


def saved(content, folder: Path, encoding: str = "utf-8") -> Path:
    (folder / "labels.json").write_text(json.dumps(content), encoding=encoding)
    return folder / "labels.json"


@pytest.mark.parametrize("name", exports.READ)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_exports_are_read(name, encoding, tmp_path: Path, caplog):
    path = saved(exports.READ[name](), tmp_path, encoding)
    star, ring = load_coco(path, exports.CLASSES)
    assert (star.labels.tolist(), ring.labels.tolist()) == ([0], [1])
    assert torch.allclose(star.boxes, torch.tensor([[4.0, 5.0, 24.0, 26.0]]))
    assert torch.allclose(ring.boxes, torch.tensor([[1.0, 2.0, 10.0, 11.0]]))
    assert (star.image_size, ring.image_size) == ((48, 64), (30, 30))
    assert (None if star.masks is None else int(star.masks.sum())) == WITH_MASKS.get(name)
    assert not caplog.records


@pytest.mark.parametrize("name", exports.READ)
def test_results_and_judgement_are_in_the_ids_of_the_export(name, tmp_path: Path):
    content = exports.READ[name]()
    truth = load_annotated(saved(content, tmp_path), exports.CLASSES)
    assert truth.image_ids == [image["id"] for image in content["images"]]
    used = [int(entry["category_id"]) for entry in content["annotations"]]
    assert truth.category_ids == used
    assert [entry["id"] for entry in truth.truth["annotations"]] == [1, 2]
    assert all(entry["area"] > 0 for entry in truth.truth["annotations"])
    found = [
        Detections(layout.boxes, torch.ones(len(layout)), layout.labels, layout.image_size) for layout in truth.layouts
    ]
    results = coco_results(truth.layouts, found, truth.image_ids, truth.category_ids)
    assert [(entry["image_id"], entry["category_id"]) for entry in results] == list(
        zip(truth.image_ids, truth.category_ids, strict=True)
    )


def test_masks_that_are_marked_as_crowds_are_mentioned(tmp_path: Path, caplog):
    assert [len(layout) for layout in load_coco(saved(exports.cvat_masks(), tmp_path), exports.CLASSES)] == [0, 0]
    assert "labels.json: all its objects are marked as crowds (iscrowd: 1)" in caplog.text


def test_what_is_no_export_of_detections_is_refused(tmp_path: Path):
    """Other tasks and other formats, which people take for this one."""
    good = exports.cvat()
    panoptic = good | {
        "annotations": [{"image_id": 1, "file_name": "a.png", "segments_info": [{"id": 3, "category_id": 1}]}]
    }
    captions = good | {"annotations": [{"id": 1, "image_id": 1, "caption": "a star"}]}
    project = {"_via_settings": {}, "_via_img_metadata": {}, "_via_attributes": {}}
    tasks = [{"id": 1, "annotations": [{"result": []}], "data": {"image": "/data/upload/a.png"}}]
    datumaro = {"info": {}, "categories": {"label": {"labels": []}}, "items": []}
    labelme = {"version": "5.0.1", "flags": {}, "shapes": [], "imagePath": "a.png"}
    video = good | {"images": None, "videos": [{"id": 1}]}
    for content, problem in (
        (panoptic, r"annotations\[0\]: 'id' is missing"),
        (captions, r"annotations\[0\]: 'category_id' is missing"),
        (project, "has no 'images'"),
        (tasks, "holds a list, expected a COCO file"),
        (datumaro, "has no 'images'"),
        (labelme, "has no 'images'"),
        (video, "'images' must be a list"),
    ):
        with pytest.raises(LayoutError, match=problem):
            load_coco(saved(content, tmp_path), exports.CLASSES)


@pytest.mark.parametrize("name", ["https://bucket/a.png", "/data/local-files/?d=a.png", "s3://bucket/a.png"])
def test_addresses_instead_of_files_are_refused(name, tmp_path: Path):
    """Label Studio keeps the address of an image that it has not stored itself."""
    with pytest.raises((LayoutError, ConfigError), match=r"a\.png"):
        read_images(tmp_path, [name])
