"""Photographs are judged as pycocotools judges the same detections by the same annotation file."""

import contextlib
import io
import json
from pathlib import Path

import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detinv.errors import LayoutError
from detinv.inversion.evaluation import evaluate
from detinv.layouts.layout import Detections
from detinv.metrics.coco_ap import coco_results
from detinv.metrics.coco_truth import load_annotated

NAMES = ("person", "dog", "cat")
VAL40 = Path(__file__).resolve().parents[3] / "shared" / "data" / "coco_val40" / "instances.json"
_KEYS = ("AP", "AP50", "AP75", "APs", "APm", "APl")
CROWD_RUNS = {"size": [80, 120], "counts": [4800, 4800]}


def content() -> dict:
    """Crowds with and without a region, areas smaller than the boxes, a box over the border, an object with id 0."""

    def thing(number, image_id, category_id, box, area, iscrowd=0, **more):
        return {
            "id": number,
            "image_id": image_id,
            "category_id": category_id,
            "bbox": box,
            "area": area,
            "iscrowd": iscrowd,
            **more,
        }

    return {
        "images": [{"id": k, "file_name": f"{k}.jpg", "height": 80, "width": 120} for k in (0, 44, 7)],
        "categories": [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}, {"id": 90, "name": "toaster"}],
        "annotations": [
            thing(1, 0, 1, [2, 3, 30, 40], 700.5),
            thing(2, 0, 1, [60, 0, 60, 80], 4800, 1, segmentation=CROWD_RUNS),
            thing(3, 7, 18, [10, 10, 110.6, 60], 6000),
            thing(4, 7, 1, [50, 20, 20, 20], 300),
            thing(5, 7, 18, [0, 0, 50, 20], 1000, 1),
            thing(6, 44, 1, [1, 1, 8, 9], 60),
            thing(7, 44, 90, [1, 1, 8, 9], 60, 1),
        ],
    }


def noisy(truth, seed: int) -> list[Detections]:
    """Every object twice, parts of every crowd, and some that are not there."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for layout, crowd in zip(truth.layouts, truth.crowds, strict=True):
        boxes = torch.cat(
            [layout.boxes, layout.boxes, crowd.boxes, crowd.boxes, torch.tensor([[5.0, 5.0, 60.0, 70.0]])]
        )
        boxes = boxes + 3 * torch.randn(boxes.shape, generator=generator)
        boxes[:, 2:] = torch.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        labels = torch.cat([layout.labels, layout.labels, crowd.labels, crowd.labels, torch.tensor([0])])
        scores = torch.rand(len(boxes), generator=generator)
        found.append(Detections(boxes, scores, labels, layout.image_size))
    return found


def pycocotools_says(path: Path, results: list[dict]) -> list[float]:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(path))
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [100 * float(value) for value in evaluation.stats[:6]]


def agree(path: Path, names, seed: int) -> dict:
    truth = load_annotated(path, names)
    found = noisy(truth, seed)
    ours = evaluate(truth.layouts, found, names, truth.crowds, truth.truth)
    theirs = pycocotools_says(path, coco_results(truth.layouts, found, truth.image_ids, truth.category_ids))
    for key, value in zip(_KEYS, theirs, strict=True):
        assert ours[key] == pytest.approx(value, abs=6e-4) or (value == -100 and ours[key] != ours[key]), key
    return ours


@pytest.mark.parametrize("seed", range(4))
def test_average_precision_is_that_of_pycocotools(seed, tmp_path: Path):
    (tmp_path / "a.json").write_text(json.dumps(content()))
    agree(tmp_path / "a.json", NAMES, seed)


@pytest.mark.skipif(not VAL40.is_file(), reason="needs shared/data/coco_val40")
def test_average_precision_on_photographs_of_coco():
    names = tuple(sorted({category["name"] for category in json.loads(VAL40.read_text())["categories"]}))
    assert agree(VAL40, names, 0)["objects"] == 344


def judged(tmp_path: Path, some: dict, boxes, names=NAMES, masks=None) -> dict:
    (tmp_path / "a.json").write_text(json.dumps(some))
    truth = load_annotated(tmp_path / "a.json", names)
    found = [
        Detections(
            torch.tensor(of_image).reshape(-1, 4),
            torch.full((len(of_image),), 0.9),
            torch.zeros(len(of_image)).long(),
            (80, 120),
            mask,
        )
        for of_image, mask in zip(boxes, masks or [None] * len(boxes), strict=True)
    ]
    return evaluate(truth.layouts, found, names, truth.crowds, truth.truth)


def test_detections_in_a_crowd_are_no_false_positives(tmp_path: Path):
    some = content() | {"annotations": content()["annotations"][:2]}
    inside, half, beside = [70.0, 10.0, 80.0, 20.0], [50.0, 10.0, 71.0, 20.0], [35.0, 50.0, 58.0, 78.0]
    thing = [2.0, 3.0, 32.0, 43.0]
    scores = judged(tmp_path, some, [[inside, half, thing], [], []])
    assert (scores["AP50"], scores["redetected"], scores["false_positives"]) == (pytest.approx(100), 1, 0)
    scores = judged(tmp_path, some, [[beside, thing], [], []])
    assert (scores["redetected"], scores["false_positives"]) == (1, 1)
    # Of another class than the crowd's.
    assert judged(tmp_path, some, [[inside, thing], [], []], names=("dog", "person"))["false_positives"] == 2


def test_masks_are_judged_with_the_region_of_a_crowd(tmp_path: Path):
    some = content() | {"annotations": content()["annotations"][:2]}
    some["annotations"][0] |= {"segmentation": [[2, 3, 32, 3, 32, 43, 2, 43]]}
    masks = torch.zeros(2, 80, 120, dtype=torch.bool)
    masks[0, 3:43, 2:32], masks[1, 10:20, 70:80] = True, True
    boxes = [[[2.0, 3.0, 32.0, 43.0], [70.0, 10.0, 80.0, 20.0]], [], []]
    nothing = torch.zeros(0, 80, 120, dtype=torch.bool)
    for segmentation in (CROWD_RUNS, [], [[1, 2]]):
        some["annotations"][1]["segmentation"] = segmentation
        scores = judged(tmp_path, some, boxes, masks=[masks, nothing, nothing])
        assert (scores["AP"], scores["mask_AP"]) == (pytest.approx(100), pytest.approx(100))


@pytest.mark.parametrize("area", [None, float("nan"), float("inf"), 10**4000, -1, "large", True])
def test_an_area_that_is_none_is_that_of_the_box(area, tmp_path: Path):
    some = content() | {"annotations": content()["annotations"][:1]}
    some["annotations"][0] |= {"bbox": [2, 3, 40, 40], "area": area}
    (tmp_path / "a.json").write_text(json.dumps(some))
    (only,) = load_annotated(tmp_path / "a.json", NAMES).truth["annotations"]
    assert only["area"] == 1600


def test_results_have_the_ids_of_the_file(tmp_path: Path):
    some = content() | {"annotations": []}
    some["images"][1]["id"], some["categories"][1]["id"] = "44", 18.0
    (tmp_path / "a.json").write_text(json.dumps(some))
    truth = load_annotated(tmp_path / "a.json", NAMES)
    assert truth.image_ids == [0, 7, "44"]
    assert truth.category_ids == [1, 18.0, 93]


@pytest.mark.parametrize("used", [1, 50])
def test_of_two_categories_of_one_name_results_take_the_one_with_objects(used, tmp_path: Path):
    """Roboflow lists the name of a data set as a category of its own, without objects."""
    some = content()
    some["categories"].append({"id": 50, "name": "person", "supercategory": "person"})
    for entry in some["annotations"]:
        entry["category_id"] = used if entry["category_id"] == 1 else entry["category_id"]
    (tmp_path / "a.json").write_text(json.dumps(some))
    assert load_annotated(tmp_path / "a.json", NAMES).category_ids[0] == used
    assert agree(tmp_path / "a.json", NAMES, 0)["objects"] == 4


def test_two_categories_of_one_name_that_both_have_objects_are_refused(tmp_path: Path):
    some = content()
    some["categories"].append({"id": 50, "name": "person"})
    some["annotations"][3]["category_id"] = 50
    (tmp_path / "a.json").write_text(json.dumps(some))
    with pytest.raises(LayoutError, match=r"a.json: categories 1 and 50 are both called 'person'"):
        load_annotated(tmp_path / "a.json", NAMES)


def test_categories_may_have_another_name_of_the_detectors_class(tmp_path: Path):
    """As in a file that calls a couch a sofa: objects and crowds count, and results have the file's own category."""
    some = content()
    some["categories"][0]["name"] = "sofa"
    (tmp_path / "a.json").write_text(json.dumps(some))
    names = ("couch", "dog", "cat")
    assert [len(crowd) for crowd in load_annotated(tmp_path / "a.json", names).crowds] == [1, 1, 0]
    assert load_annotated(tmp_path / "a.json", names).category_ids[:2] == [1, 18]
    assert agree(tmp_path / "a.json", names, 0)["objects"] == 4


def test_a_crowd_without_a_proper_box_is_refused(tmp_path: Path):
    some = content()
    some["annotations"][1]["bbox"] = [1, 2, 0, 4]
    (tmp_path / "a.json").write_text(json.dumps(some))
    with pytest.raises(LayoutError, match="annotation 2 of image 0: .* reversed or empty"):
        load_annotated(tmp_path / "a.json", NAMES)
