"""Every detection is traced to its raw row; one that cannot be traced is marked, never guessed."""

from dataclasses import replace

import pytest
import torch

from detinv.detectors.locate import locate_rows, match_detections
from detinv.layouts.layout import Detections
from tests.fakes import FAMILIES, block_image, tiny_detector
from tests.rows import assert_every_question_has_a_gradient, assert_rows_are_those_of_detections


@pytest.fixture(scope="module")
def detectors():
    return {family: tiny_detector(family, image_size=(64, 96)) for family in (*FAMILIES, "ssd")}


# The network's own size, an aspect that needs padding, and two that the library resizes, one of them up.
@pytest.mark.parametrize("size", [(64, 96), (48, 96), (100, 75), (41, 60)])
@pytest.mark.parametrize("family", [*FAMILIES, "ssd"])
def test_rows_are_those_of_detections(detectors, family, size):
    assert_rows_are_those_of_detections(detectors[family], [block_image(size, seed) for seed in range(2)])


def test_only_two_stages_have_regions(detectors):
    image = block_image((64, 96))
    for family, detector in detectors.items():
        (found,) = locate_rows(detector, [image], detector.detect([image]))
        assert (found.regions is None) == (family not in ("fasterrcnn", "maskrcnn"))


def test_detect_itself_says_nothing_of_rows(detectors):
    assert detectors["retinanet"].detect([block_image((64, 96))])[0].rows is None


def test_filtered_and_reordered_detections_keep_the_rows_they_have_all_together(detectors):
    detector, image = detectors["fasterrcnn"], block_image((64, 96))
    (every,) = locate_rows(detector, [image], detector.detect([image]))
    chosen = torch.tensor([5, 0, 3])
    (few,) = locate_rows(detector, [image], [detector.detect([image])[0].select(chosen)])
    assert few.rows.equal(every.rows[chosen])
    assert few.regions.equal(every.regions[chosen])
    assert every.select(chosen).rows.equal(few.rows)


def test_detections_of_another_image_have_no_row(detectors):
    for family in ("retinanet", "maskrcnn"):
        detector = detectors[family]
        other = detector.detect([block_image((64, 96), seed=7)])
        (found,) = locate_rows(detector, [block_image((64, 96))], other)
        assert (found.rows == -1).all()
        assert found.regions is None or found.regions.isnan().all()


def test_a_detection_that_is_nowhere_does_not_disturb_the_others(detectors):
    detector, image = detectors["fasterrcnn"], block_image((64, 96))
    (every,) = locate_rows(detector, [image], detector.detect([image]))
    moved = every.boxes.clone()
    moved[1] += 0.2
    wrong = every.labels.clone()
    wrong[2] = (wrong[2] + 1) % 3
    (found,) = locate_rows(detector, [image], [replace(every, boxes=moved, labels=wrong)])
    assert found.rows[1] == found.rows[2] == -1
    kept = [0, *range(3, len(every))]
    assert found.rows[kept].equal(every.rows[kept])
    assert found.regions[1].isnan().all()


def test_no_detections_have_no_rows(detectors):
    detector, image = detectors["fasterrcnn"], block_image((64, 96))
    (found,) = locate_rows(detector, [image], [detector.detect([image])[0].above(2.0)])
    assert found.rows.shape == (0,) and found.regions.shape == (0, 4)


def test_images_and_detections_must_belong_together(detectors):
    detector, image = detectors["retinanet"], block_image((64, 96))
    found = detector.detect([image])
    with pytest.raises(ValueError, match="size"):
        locate_rows(detector, [block_image((64, 64))], found)
    with pytest.raises(ValueError):
        locate_rows(detector, [image, image], found)


def some(boxes, scores, labels):
    return Detections(torch.tensor(boxes).reshape(-1, 4), torch.tensor(scores), torch.tensor(labels), (64, 64))


NEAR = [10.0, 10.0, 20.0, 20.0]


def test_two_rows_as_near_as_each_other_are_not_chosen_from():
    replayed = some([NEAR, NEAR, [40.0, 40, 50, 50]], [0.5, 0.5, 0.5], [1, 1, 1])
    assert match_detections(some([NEAR, [40.0, 40, 50, 50]], [0.5, 0.5], [1, 1]), replayed).tolist() == [-1, 2]


def test_the_clearly_nearest_of_two_is_chosen():
    replayed = some([NEAR, [10.0, 10, 20, 20.04]], [0.5, 0.5], [1, 1])
    found = some([[10.0, 10, 20, 20.001], [10.0, 10, 20, 20.039]], [0.5, 0.5], [1, 1])
    assert match_detections(found, replayed).tolist() == [0, 1]
    assert match_detections(some([[10.0, 10, 20, 20.018]], [0.5], [1]), replayed).tolist() == [-1]


def test_two_detections_do_not_share_a_row():
    found = some([NEAR, [10.0, 10, 20, 20.01]], [0.5, 0.5], [1, 1])
    assert match_detections(found, some([NEAR], [0.5], [1])).tolist() == [0, -1]


@pytest.mark.parametrize(
    ("box", "score", "label"),
    [([10.0, 10, 20, 20.06], 0.5, 1), (NEAR, 0.5002, 1), (NEAR, 0.5, 0), ([float("nan")] * 4, 0.5, 1)],
)
def test_boxes_scores_and_classes_must_agree(box, score, label):
    replayed = some([NEAR], [0.5], [1])
    assert match_detections(some([NEAR], [0.5], [1]), replayed).tolist() == [0]
    assert match_detections(some([box], [score], [label]), replayed).tolist() == [-1]


@pytest.mark.parametrize("family", [*FAMILIES, "ssd"])
def test_every_question_has_a_gradient(detectors, family):
    assert_every_question_has_a_gradient(detectors[family], block_image((64, 96)))
