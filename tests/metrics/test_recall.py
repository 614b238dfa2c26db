"""Recall of single objects: the share of IoU thresholds at which a detection of the right class finds them."""

import pytest
import torch

from detinv.layouts.layout import Detections, Layout
from detinv.metrics.recall import object_recall


def layout(boxes, labels):
    return Layout(torch.tensor(boxes).view(-1, 4), torch.tensor(labels, dtype=torch.int64), (100, 100), "a")


def detections(boxes, labels):
    count = len(labels)
    return Detections(
        torch.tensor(boxes).view(-1, 4), torch.full((count,), 0.1), torch.tensor(labels, dtype=torch.int64), (100, 100)
    )


BOX = [10.0, 10.0, 50.0, 50.0]


@pytest.mark.parametrize(("right_edge", "recall"), [
    (50.0, 1.0),
    (42.0, 0.7),  # IoU 0.8
    (30.0, 0.1),  # IoU 0.5
    (29.0, 0.0),
])  # fmt: skip
def test_recall_counts_the_thresholds_that_the_overlap_reaches(right_edge, recall):
    found = object_recall([layout([BOX], [0])], [detections([[10.0, 10.0, right_edge, 50.0]], [0])])
    assert found == [[pytest.approx(recall)]]


def test_only_detections_of_the_class_count_and_the_best_of_them():
    found = object_recall(
        [layout([BOX, [60.0, 60.0, 90.0, 90.0]], [0, 1])],
        [detections([BOX, [10.0, 10.0, 42.0, 50.0], [60.0, 60.0, 90.0, 90.0]], [1, 0, 0])],
    )
    assert found == [[pytest.approx(0.7), 0.0]]


def test_no_detection_finds_nothing_and_no_object_is_no_number():
    empty = detections([], [])
    assert object_recall([layout([BOX], [0]), layout([], [])], [empty, empty]) == [[0.0], []]


def test_another_number_of_images_is_refused():
    with pytest.raises(ValueError):
        object_recall([layout([BOX], [0])], [])
