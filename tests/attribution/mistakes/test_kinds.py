"""Kinds of objects and detections, by hand and against COCO's own evaluation."""

import contextlib
import io
from pathlib import Path

import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detinv.attribution.mistakes.kinds import Kind, Thresholds, judge
from detinv.detectors.class_names import COCO_CLASSES
from detinv.errors import ConfigError
from detinv.layouts.layout import Detections, Layout
from detinv.metrics.coco_ap import coco_results
from detinv.metrics.coco_truth import load_annotated

SIZE = (100, 100)
VAL40 = Path(__file__).resolve().parents[4] / "shared" / "data" / "coco_val40"


def layout(*objects: tuple[int, tuple[float, float, float, float]]) -> Layout:
    boxes, labels = torch.tensor([box for _, box in objects]).reshape(-1, 4), torch.tensor([one for one, _ in objects])
    return Layout(boxes, labels.long(), SIZE, "hand")


def detections(*found: tuple[int, float, tuple[float, float, float, float]]) -> Detections:
    return Detections(
        torch.tensor([box for _, _, box in found]).reshape(-1, 4),
        torch.tensor([score for _, score, _ in found]),
        torch.tensor([label for label, _, _ in found]).long(),
        SIZE,
    )


BOX = (10.0, 10.0, 30.0, 30.0)
ASIDE = (20.0, 10.0, 40.0, 30.0)  # IoU 1/3 with it
FAR = (60.0, 60.0, 90.0, 90.0)


@pytest.mark.parametrize(
    ("found", "kinds", "of_object"),
    [
        ([(0, 0.9, BOX)], [Kind.FOUND], Kind.FOUND),
        ([(1, 0.9, BOX)], [Kind.WRONG_CLASS], Kind.WRONG_CLASS),
        ([(0, 0.9, ASIDE)], [Kind.BADLY_PLACED], Kind.BADLY_PLACED),
        ([(1, 0.9, ASIDE)], [Kind.BOTH], Kind.MISSED),
        ([(0, 0.9, FAR)], [Kind.BACKGROUND], Kind.MISSED),
        ([(0, 0.7, BOX), (0, 0.9, BOX)], [Kind.DUPLICATE, Kind.FOUND], Kind.FOUND),
        ([(0, 0.9, ASIDE), (1, 0.7, BOX)], [Kind.BADLY_PLACED, Kind.WRONG_CLASS], Kind.WRONG_CLASS),
        ([(0, 0.9, ASIDE), (0, 0.7, BOX)], [Kind.BADLY_PLACED, Kind.FOUND], Kind.FOUND),
        ([], [], Kind.MISSED),
    ],
)
def test_kinds_of_one_object_and_its_detections(found, kinds, of_object):
    judged = judge(layout((0, BOX)), detections(*found), Thresholds())
    assert judged.detections == kinds
    assert judged.objects == [of_object]
    by = judged.found_by[0]
    assert (by == -1) == (of_object == Kind.MISSED)
    assert by == -1 or judged.detections[by] == of_object


def test_what_a_box_covers_outweighs_a_neighbour_that_it_touches():
    """The neighbour has the detection's class and overlaps it by 1/3; the covered object has another class."""
    judged = judge(layout((1, BOX), (0, ASIDE)), detections((0, 0.9, BOX)), Thresholds())
    assert judged.detections == [Kind.WRONG_CLASS]
    assert judged.about == [0]


def test_detections_in_a_crowd_of_their_class_are_ignored():
    crowd = layout((0, (50.0, 50.0, 100.0, 100.0)))
    judged = judge(layout((0, BOX)), detections((0, 0.9, FAR), (1, 0.9, FAR), (0, 0.8, BOX)), Thresholds(), crowd)
    assert judged.detections == [Kind.IGNORED, Kind.BACKGROUND, Kind.FOUND]


@pytest.mark.parametrize(
    "options",
    [
        {"fg_iou_thresh": 1.5},
        {"fg_iou_thresh": 0.0, "bg_iou_thresh": 0.0},
        {"score_thresh": -0.1},
        {"bg_iou_thresh": 0.6},
    ],
)
def test_thresholds_out_of_range_are_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        Thresholds(**options)


@pytest.mark.skipif(not VAL40.exists(), reason="needs shared/data/coco_val40")
def test_found_objects_are_the_true_positives_of_cocos_evaluation():
    """Real annotations with crowds; the detections are boxes moved at random, some of another class, some twice."""
    annotated = load_annotated(VAL40 / "instances.json", COCO_CLASSES)
    generator = torch.Generator().manual_seed(0)
    found = []
    for truth, crowd in zip(annotated.layouts, annotated.crowds, strict=True):
        boxes, labels = torch.cat([truth.boxes, crowd.boxes] * 2), torch.cat([truth.labels, crowd.labels] * 2)
        sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
        boxes = boxes + 0.12 * sides * torch.randn(boxes.shape, generator=generator)
        boxes[:, 2:] = torch.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        other = torch.rand(len(labels), generator=generator) < 0.2
        labels = torch.where(other, (labels + 1) % len(COCO_CLASSES), labels)
        found.append(Detections(boxes, torch.rand(len(labels), generator=generator), labels, truth.image_size))
    judged = [
        judge(truth, one, Thresholds(), crowd)
        for truth, one, crowd in zip(annotated.layouts, found, annotated.crowds, strict=True)
    ]
    truth, results = COCO(), COCO()
    truth.dataset = annotated.truth
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        results = truth.loadRes(coco_results(annotated.layouts, found))
        evaluation = COCOeval(truth, results, "bbox")
        evaluation.evaluate()
    everywhere = [one for one in evaluation.evalImgs if one and one["aRng"] == evaluation.params.areaRng[0]]
    matched = sum(
        bool(to) and not ignored
        for one in everywhere
        for to, ignored in zip(one["dtMatches"][0], one["dtIgnore"][0], strict=True)
    )
    ignored = sum(int(one["dtIgnore"][0].sum()) for one in everywhere)
    kinds = [kind for one in judged for kind in one.detections]
    assert matched > 100
    assert kinds.count(Kind.FOUND) == matched == sum(one.objects.count(Kind.FOUND) for one in judged)
    assert kinds.count(Kind.IGNORED) == ignored > 0
