"""Targeted object, other names for it, and context, told apart in detections made by hand."""

import math

import torch

from detinv.experiments.common.cooccurrence import (
    NamedDetection,
    TargetedObject,
    as_detections,
    centre,
    group_detections,
    iou,
    named_detections,
    pixel_box,
)
from detinv.layouts.layout import Detections

NAN = (math.nan,) * 4
MIDDLE = (50.0, 50.0, 78.0, 78.0)


def target(name="dog", anchor=MIDDLE, box=MIDDLE):
    return TargetedObject(f"{name}-0", name, MIDDLE, anchor, box, 0.98)


def sighting(name, box, score=0.9):
    return NamedDetection(name, score, box)


def test_the_target_object_is_no_context_even_where_it_hardly_overlaps():
    seen = [sighting("dog", MIDDLE), sighting("dog", (70.0, 70.0, 120.0, 120.0)), sighting("cat", (0, 0, 20, 20))]
    found = group_detections(target(), seen)
    assert found.target == seen[:2]
    assert found.context == seen[2:]
    assert not found.confusions


def test_another_object_of_the_target_class_is_context():
    far = sighting("dog", (0.0, 0.0, 50.0, 50.0))
    # It touches the anchor in one corner only, which is no overlap.
    found = group_detections(target(), [sighting("dog", MIDDLE), far])
    assert found.context == [far]


def test_the_candidates_own_box_counts_where_its_anchor_lies_elsewhere():
    point = (10.0, 10.0, 12.0, 12.0)
    seen = [sighting("dog", MIDDLE)]
    assert group_detections(target(anchor=point), seen).target == seen
    assert group_detections(target(anchor=point, box=NAN), seen).context == seen


def test_a_class_in_the_same_place_is_a_rival_and_one_beside_is_not():
    same, half = sighting("cat", (51.0, 50.0, 79.0, 78.0)), sighting("hat", (50.0, 36.0, 78.0, 64.0))
    found = group_detections(target(), [sighting("dog", MIDDLE), same, half])
    assert found.confusions == [same]
    assert found.context == [half]


def test_rivals_lie_where_the_object_is_seen_or_else_where_it_was_asked_for():
    seen_there = sighting("dog", (60.0, 60.0, 100.0, 100.0))
    cat = sighting("cat", MIDDLE)
    assert group_detections(target(), [seen_there, cat]).context == [cat]
    assert group_detections(target(), [cat]).confusions == [cat]


def test_nothing_seen_is_nothing_read():
    found = group_detections(target(), [])
    assert not found.target and not found.confusions and not found.context


def test_sightings_are_sure_ones_most_certain_first():
    boxes = torch.tensor([[0.0, 0, 10, 10], [5, 5, 20, 20], [1, 1, 4, 4]])
    found = named_detections(Detections(boxes, torch.tensor([0.6, 0.5, 0.9]), torch.tensor([1, 0, 2]), (32, 32)), "abc")
    assert [(one.name, round(one.score, 3)) for one in found] == [("c", 0.9), ("b", 0.6)]
    assert found[0].box == (1, 1, 4, 4)


def test_sightings_become_the_detections_they_were():
    before = Detections(torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([0.75]), torch.tensor([1]), (32, 24))
    after = as_detections(named_detections(before, "ab"), "ab", (32, 24))
    assert torch.equal(after.boxes, before.boxes)
    assert torch.equal(after.scores, before.scores)
    assert torch.equal(after.labels, before.labels)
    assert len(as_detections([], "ab", (32, 24))) == 0


def test_boxes_of_nan_overlap_nothing():
    assert iou(NAN, MIDDLE) == iou(MIDDLE, NAN) == 0
    assert iou(MIDDLE, MIDDLE) == 1
    assert iou((0, 0, 4, 4), (2, 0, 6, 4)) == 8 / 24
    assert centre((0, 2, 4, 10)) == (2, 6)
    assert pixel_box([1, 2, 3, 4]) == (1, 2, 3, 4)
    assert all(math.isnan(value) for value in pixel_box([None] * 4))
