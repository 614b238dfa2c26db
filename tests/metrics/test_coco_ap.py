"""Average precision: perfect, worthless and half-right detections, against figures worked out by hand."""

import json
import math
from dataclasses import replace

import pytest
import torch

from detinv.layouts.coco import load_coco
from detinv.layouts.layout import Detections, Layout
from detinv.metrics.coco_ap import average_precision, average_precision_above, coco_ground_truth, coco_results

NAMES = ("circle", "square", "star")


def scene(boxes, labels, id="a", image_size=(100, 120)):
    masks = torch.zeros(len(boxes), *image_size, dtype=torch.bool)
    for row, (x0, y0, x1, y1) in enumerate(boxes):
        masks[row, y0:y1, x0:x1] = True
    return Layout.from_masks(masks, torch.tensor(labels, dtype=torch.int64), id)


def perfect(layout, score=0.9):
    return Detections(layout.boxes, torch.full((len(layout),), score), layout.labels, layout.image_size, layout.masks)


def none(layout):
    return perfect(layout.select(torch.zeros(len(layout), dtype=torch.bool)))


@pytest.fixture
def layouts():
    return [
        scene([(0, 0, 20, 20), (30, 30, 80, 90)], [0, 1], "a"),
        scene([(5, 5, 25, 30)], [0], "b"),
        scene([], [], "c"),
    ]


@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
def test_perfect_detections_reach_100(layouts, iou_type, capsys):
    ap = average_precision(layouts, [perfect(layout) for layout in layouts], NAMES, iou_type)
    for name in ("AP", "AP50", "AP75", "APs", "APm", "AP/circle", "AP/square"):
        assert ap[name] == pytest.approx(100), name
    assert math.isnan(ap["AP/star"]) and math.isnan(ap["APl"])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
def test_no_detections_reach_0(layouts, iou_type):
    ap = average_precision(layouts, [none(layout) for layout in layouts], NAMES, iou_type)
    assert ap["AP"] == ap["AP50"] == ap["AP/circle"] == 0 and math.isnan(ap["AP/star"])


def test_no_objects_have_no_ap(layouts):
    empty = [layouts[2]]
    assert all(math.isnan(value) for value in average_precision(empty, [none(empty[0])], NAMES).values())
    assert math.isnan(average_precision([], [], NAMES)["AP"])


def test_iou_of_0_8_passes_seven_of_ten_thresholds():
    layout = scene([(0, 0, 20, 20)], [0])
    shifted = Detections(torch.tensor([[0.0, 0, 20, 16.1]]), torch.tensor([0.9]), torch.tensor([0]), (100, 120))
    ap = average_precision([layout], [shifted], NAMES)
    assert [ap[name] for name in ("AP", "AP50", "AP75")] == pytest.approx([70, 100, 100])


def test_confident_mistake_halves_the_precision():
    layout = scene([(0, 0, 20, 20)], [0])
    found = Detections(
        torch.tensor([[50.0, 50, 70, 70], [0, 0, 20, 20]]), torch.tensor([0.9, 0.8]), torch.tensor([0, 0]), (100, 120)
    )
    assert average_precision([layout], [found], NAMES)["AP"] == pytest.approx(50)


def test_wrong_class_and_other_image_do_not_count(layouts):
    wrong = [
        Detections(found.boxes, found.scores, (found.labels + 1) % 3, found.image_size)
        for found in map(perfect, layouts)
    ]
    assert average_precision(layouts, wrong, NAMES)["AP"] == 0
    swapped = [perfect(layouts[1]), perfect(layouts[0]), none(layouts[2])]
    assert average_precision(layouts, swapped, NAMES)["AP"] < 5


def test_masks_are_judged_by_masks():
    layout = scene([(0, 0, 20, 20)], [0])
    half = layout.masks.clone()
    half[0, 10:] = False
    found = Detections(layout.boxes, torch.tensor([0.9]), layout.labels, layout.image_size, half)
    assert average_precision([layout], [found], NAMES)["AP"] == pytest.approx(100)
    assert average_precision([layout], [found], NAMES, "segm")["AP75"] == 0


def test_missing_masks_are_an_error(layouts):
    boxes_only = [layout.without_masks() for layout in layouts]
    found = [perfect(layout) for layout in boxes_only]
    assert average_precision(boxes_only, found, NAMES)["AP"] == pytest.approx(100)
    with pytest.raises(ValueError, match="needs masks"):
        average_precision(boxes_only, found, NAMES, "segm")
    with pytest.raises(ValueError, match="needs masks"):
        average_precision(layouts, found, NAMES, "segm")


def test_what_does_not_belong_together_is_an_error(layouts):
    with pytest.raises(ValueError, match="3 layouts, but detections of 1"):
        average_precision(layouts, [perfect(layouts[0])], NAMES)
    with pytest.raises(ValueError, match="layout a is of size"):
        coco_results([layouts[0]], [none(scene([], [], image_size=(50, 50)))])


def test_ground_truth_survives_json_and_loading(layouts, tmp_path):
    path = tmp_path / "layouts.json"
    path.write_text(json.dumps(coco_ground_truth(layouts, NAMES)))
    for layout, loaded in zip(layouts, load_coco(path, NAMES), strict=True):
        assert loaded.id == layout.id and torch.equal(loaded.boxes, layout.boxes)
        assert torch.equal(loaded.labels, layout.labels)
        assert len(layout) == 0 or torch.equal(loaded.masks, layout.masks)


def test_results_are_json_with_ids_of_the_ground_truth(layouts):
    results = json.loads(json.dumps(coco_results(layouts, [perfect(layout) for layout in layouts])))
    assert [(entry["image_id"], entry["category_id"]) for entry in results] == [(1, 1), (1, 2), (2, 1)]
    assert results[1]["bbox"] == [30, 30, 50, 60]


def test_rows_and_regions_are_written_where_they_are_known(layouts):
    found = perfect(layouts[0])
    assert "row" not in coco_results([layouts[0]], [found])[0]
    regions = torch.tensor([[1.0, 2, 11, 22], [math.nan] * 4])
    known = replace(found, rows=torch.tensor([7, -1]), regions=regions)
    first, second = coco_results([layouts[0]], [known])
    assert (first["row"], first["region"]) == (7, [1, 2, 10, 20])
    assert second["row"] == -1 and "region" not in second
    assert average_precision([layouts[0]], [known], NAMES)["AP"] == pytest.approx(100)


def test_objects_up_to_an_area_are_neither_hit_nor_miss():
    boxes, labels = torch.tensor([[10.0, 10, 110, 110], [200.0, 200, 232, 232]]), torch.tensor([0, 0])
    wanted = Layout(boxes, labels, (352, 352), "one")
    found = Detections(boxes[:1], torch.tensor([0.9]), labels[:1], (352, 352))
    both = average_precision([wanted], [found], ["a"])
    assert average_precision_above([wanted], [found], ["a"], 0) == pytest.approx((both["AP"], both["AP50"]))
    assert both["AP50"] == pytest.approx(50, abs=1)
    assert average_precision_above([wanted], [found], ["a"], 32.0**2) == pytest.approx((100, 100))
    assert average_precision_above([wanted], [found], ["a"], 32.0**2 - 1)[0] == pytest.approx(both["AP"])
    assert all(math.isnan(value) for value in average_precision_above([wanted], [found], ["a"], 1e6))
