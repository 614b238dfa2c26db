"""`detinv.explain_errors`: what it returns for scenes and for images without objects, and what it refuses."""

import json
from dataclasses import replace

import pytest
import torch

import detinv
from detinv.attribution.mistakes.cases import worst_cases
from detinv.attribution.mistakes.table import counts, tables
from detinv.errors import ConfigError, LayoutError
from detinv.layouts.layout import Layout
from detinv.worlds.plain import PlainWorld
from tests.attribution.hand_set import HandSetDetector
from tests.fakes import block_image

EMPTY = Layout(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), (64, 64), "empty")


def test_found_objects_have_no_loss_and_the_report_can_be_written():
    scene = PlainWorld(seed=5).scene(0)
    report = detinv.explain_errors("shapes_fcos", [scene.image], [scene.layout])
    (errors,) = report.images
    assert set(errors.judged.objects) == {"found"}
    assert errors.losses == [None] * len(scene.layout)
    (entry,) = json.loads(json.dumps(report.entries()))
    assert [one["detection"] for one in entry["objects"]] == errors.judged.found_by
    assert counts(report)["objects"]["found"] == len(scene.layout)
    assert all(table.rows or table.name == "stages" for table in tables(report))


def test_an_image_without_objects_has_only_background():
    report = detinv.explain_errors(HandSetDetector(), [block_image((64, 64))], [EMPTY], score_thresh=0.1)
    assert set(report.images[0].judged.detections) == {"background"}
    found = len(report.images[0].found)
    assert repr(report) == f"ErrorReport(1 image; 0 objects; {found} detections: {found} background)"
    assert worst_cases(report, 3)[0].title.startswith("Background: ")


def test_an_object_where_nothing_looks_has_no_row():
    truth = Layout(torch.tensor([[0.0, 0.0, 9.0, 9.0]]), torch.tensor([0]), (64, 64), "corner")
    report = detinv.explain_errors(HandSetDetector(), [block_image((64, 64))], [truth], score_thresh=0.1)
    (loss,) = report.images[0].losses
    assert loss is not None and loss.nearest is not None
    assert loss.stage == "no row had its box"
    assert (loss.nearest.row, loss.nearest.label) == (0, 0)
    case = worst_cases(report, 1)[-1]
    assert "nearest overlaps it by an IoU of" in case.sentence


@pytest.mark.parametrize(
    ("truth", "options", "error", "said"),
    [
        ([], {}, LayoutError, "1 images need one layout each"),
        ([EMPTY], {"crowds": []}, LayoutError, "one of crowds"),
        ([replace(EMPTY, image_size=(32, 64))], {}, LayoutError, "its image of size"),
        ([EMPTY], {"fg_iou_thresh": 0.05}, ConfigError, "must not exceed fg_iou_thresh"),
    ],
)
def test_what_does_not_fit_is_refused(truth, options, error, said):
    with pytest.raises(error, match=said):
        detinv.explain_errors(HandSetDetector(), [block_image((64, 64))], truth, **options)


def test_a_class_that_the_detector_does_not_have_is_refused():
    truth = Layout(torch.tensor([[0.0, 0.0, 9.0, 9.0]]), torch.tensor([7]), (64, 64), "other")
    with pytest.raises(LayoutError, match="must lie in 0 ... 1"):
        detinv.explain_errors(HandSetDetector(), [block_image((64, 64))], [truth])
