"""Redetection: counts worked out by hand."""

import pytest
import torch

from detinv.layouts.layout import Detections, Layout
from detinv.metrics.redetection import redetection


def layout(boxes, labels):
    return Layout(torch.tensor(boxes).float().reshape(-1, 4), torch.tensor(labels, dtype=torch.int64), (50, 50), "a")


def detections(boxes, scores, labels):
    return Detections(
        torch.tensor(boxes).float().reshape(-1, 4), torch.tensor(scores).float(), torch.tensor(labels).long(), (50, 50)
    )


ONE = layout([[0, 0, 20, 20]], [1])


@pytest.mark.parametrize(
    ("boxes", "scores", "labels", "redetected", "false_positives"),
    [
        ([[0, 0, 20, 20]], [0.9], [1], 1, 0),
        ([[0, 0, 20, 20]], [0.5], [1], 0, 0),
        ([[0, 0, 20, 20]], [0.9], [0], 0, 1),
        ([[0, 0, 20, 10]], [0.9], [1], 0, 1),
        ([[0, 0, 20, 10.5]], [0.9], [1], 1, 0),
        ([[0, 0, 20, 20], [0, 0, 20, 19]], [0.9, 0.8], [1, 1], 1, 1),
        ([], [], [], 0, 0),
    ],
    ids=["found", "unsure", "wrong class", "half the box", "just enough", "twice", "nothing"],
)
def test_one_object(boxes, scores, labels, redetected, false_positives):
    counts = redetection([ONE], [detections(boxes, scores, labels)])
    assert counts == {"objects": 1, "redetected": redetected, "false_positives": false_positives}


def test_each_detection_takes_another_object():
    two = layout([[0, 0, 20, 20], [2, 0, 22, 20]], [0, 0])
    found = detections([[1, 0, 21, 20], [0, 0, 20, 20]], [0.9, 0.8], [0, 0])
    assert redetection([two], [found]) == {"objects": 2, "redetected": 2, "false_positives": 0}


def test_counts_add_up_over_images():
    empty = layout([], [])
    found = [detections([[0, 0, 20, 20]], [0.9], [1]), detections([[0, 0, 20, 20]], [0.9], [1])]
    assert redetection([ONE, empty], found) == {"objects": 1, "redetected": 1, "false_positives": 1}
    assert redetection([], []) == {"objects": 0, "redetected": 0, "false_positives": 0}


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="shorter"):
        redetection([ONE], [])
