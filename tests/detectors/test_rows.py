"""Rows of raw predictions: of detections, of queries that each pass chooses again, and what is predicted there."""

from dataclasses import replace

import pytest
import torch
from jaxtyping import TypeCheckError

from detinv.detectors.heads.predictions import Predictions
from detinv.detectors.rows import TargetRows, row_outputs
from detinv.layouts.layout import Detections
from tests.raw_outputs import IMAGES, LABELS, ROWS, predicted, rows_of


def found(rows, labels=(1, 0)):
    count = len(rows)
    return Detections(
        torch.zeros(count, 4), torch.zeros(count), torch.tensor(labels[:count]), (64, 64), rows=torch.tensor(rows)
    )


def test_rows_of_detections_run_over_all_images():
    rows = TargetRows.of_detections(predicted("ssd"), [found([3, 1]), found([4], (2,))])
    assert rows.images.tolist() == [0, 0, 1]
    assert rows.rows.tolist() == [3, 1, 4]
    assert rows.labels.tolist() == [1, 0, 2]


def test_rows_that_are_not_known_are_refused():
    with pytest.raises(ValueError, match="image 1: the row of a detection is not known"):
        TargetRows.of_detections(predicted("ssd"), [found([3, 1]), found([-1])])
    with pytest.raises(ValueError, match="not known"):
        TargetRows.of_detections(predicted("ssd"), [replace(found([3]), rows=None), found([1])])
    with pytest.raises(ValueError, match="1 images with detections, 2 predicted"):
        TargetRows.of_detections(predicted("ssd"), [found([3])])
    with pytest.raises(ValueError, match="negative"):
        TargetRows(IMAGES, ROWS - 1, LABELS)


def test_queries_chosen_anew_are_found_by_their_token():
    identities = torch.tensor([[70, 10, 30, 20, 50], [5, 30, 10, 90, 20]])
    predictions = predicted("detr")
    predictions = Predictions(replace(predictions.dense, identities=identities))
    rows = TargetRows.of_detections(predictions, [found([30, 70]), found([20])])
    assert rows.rows.tolist() == [2, 0, 4]
    with pytest.raises(ValueError, match="image 1: the query of a detection was not chosen"):
        TargetRows.of_detections(predictions, [found([30, 70]), found([70])])
    places, present = predictions.dense.places(torch.tensor([0, 1]), torch.tensor([50, 50]))
    assert places.tolist() == [4, 0] and present.tolist() == [True, False]


def test_boxes_are_decoded_in_single_precision_at_least():
    predictions = predicted("retinanet")
    half = Predictions(replace(predictions.dense, deltas=predictions.dense.deltas.to(torch.bfloat16)))
    half = Predictions(replace(half.dense, head=replace(half.dense.head, anchors=half.dense.head.anchors.float())))
    assert row_outputs(half.dense, rows_of("retinanet")).boxes().dtype == torch.float32


@pytest.mark.parametrize("family", ["fcos", "ssd", "fastestdet", "detr"])
def test_scores_and_probabilities_are_those_of_all_rows(family):
    dense = predicted(family).dense
    outputs = row_outputs(dense, rows_of(family))
    torch.testing.assert_close(outputs.scores(), dense.scores()[IMAGES, ROWS])
    logits = dense.logits[IMAGES, ROWS]
    chance = logits.softmax(-1)[..., :3] if dense.head.scoring.activation == "softmax" else logits.sigmoid()
    torch.testing.assert_close(outputs.probabilities(), chance)


def test_rows_of_a_batch_have_an_image_each():
    rows = TargetRows.of_batch(torch.tensor([[3, 1], [0, 2]]), torch.tensor([[1, 0], [2, 2]]))
    assert rows.images.tolist() == [[0, 0], [1, 1]]
    with pytest.raises((ValueError, TypeCheckError), match="one shape|rows"):
        TargetRows(IMAGES, ROWS[:2], LABELS)
