from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import batched_nms, nms

from detinv.detectors.heads.predictions import DensePredictions
from detinv.detectors.heads.proposals import propose, suppress
from detinv.layouts.batch import size_limits
from tests.fakes import in_float64, tiny_detector


def random_boxes(count, spread, side, seed):
    generator = torch.Generator().manual_seed(seed)
    centres = torch.rand(count, 2, generator=generator) * spread
    sides = side * torch.exp(0.5 * torch.randn(count, 2, generator=generator))
    return torch.cat([centres - sides / 2, centres + sides / 2], dim=1)


def indices(kept):
    return torch.arange(len(kept))[kept].tolist()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.floats(5, 200), st.floats(0.1, 0.9), st.integers(0, 10_000))
def test_suppress_keeps_what_greedy_suppression_keeps(count, spread, iou_thresh, seed):
    boxes = random_boxes(count, spread, 20.0, seed)
    scores = torch.linspace(1, 0.1, count)
    kept = suppress(boxes[None], torch.ones(1, count, dtype=torch.bool), iou_thresh)[0]
    assert indices(kept) == sorted(nms(boxes, scores, iou_thresh).tolist())


@pytest.mark.parametrize("count", [2, 3, 50, 301])
def test_suppress_is_exact_in_chains_of_any_length(count):
    # Each box overlaps the next one only (IoU 0.82, then 0.67): every second one stays.
    boxes = torch.tensor([[10.0 * k, 0, 10.0 * k + 100, 10] for k in range(count)])
    kept = suppress(boxes[None], torch.ones(1, count, dtype=torch.bool), 0.7)[0]
    assert indices(kept) == list(range(0, count, 2))


@pytest.mark.parametrize("rounds", [None, 48])
def test_suppress_equals_batched_nms_on_dense_groups(rounds):
    groups = torch.stack(
        [random_boxes(300, spread, 30.0, seed) for seed, spread in enumerate((8.0, 30.0, 80.0, 200.0))]
    )
    scores = torch.linspace(1, 0, 300)
    kept = suppress(groups, torch.ones(4, 300, dtype=torch.bool), 0.7, rounds)
    numbers = torch.arange(4).repeat_interleave(300)
    wanted = batched_nms(groups.flatten(0, 1), scores.repeat(4), numbers, 0.7)
    assert indices(kept.flatten()) == sorted(wanted.tolist())
    assert len({int(row.sum()) for row in kept}) > 1


def test_a_given_number_of_rounds_decides_chains_shorter_than_it():
    boxes = torch.tensor([[10.0 * k, 0, 10.0 * k + 100, 10] for k in range(12)])[None]
    kept = suppress(boxes, torch.ones(1, 12, dtype=torch.bool), 0.7, rounds=6)[0]
    assert indices(kept[:7]) == [0, 2, 4, 6]
    assert indices(kept) != list(range(0, 12, 2))


def test_invalid_rows_are_not_kept_and_suppress_nobody():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10]])[None]
    kept = suppress(boxes, torch.tensor([[False, True, True]]), 0.5)
    assert kept.tolist() == [[False, True, False]]


def test_empty_boxes_suppress_nobody():
    boxes = torch.tensor([[5.0, 5, 5, 5], [5, 5, 5, 5], [0, 0, 9, 9]])[None]
    assert suppress(boxes, torch.ones(1, 3, dtype=torch.bool), 0.5).all()


def raw(detector, sizes, canvas_size, seed=0):
    pixels = torch.rand(len(sizes), 3, *canvas_size, generator=torch.Generator().manual_seed(seed))
    return detector(pixels, sizes).dense


@pytest.mark.parametrize(
    ("score_thresh", "limit", "topk"), [(0.0, 50, 300), (0.6, 50, 300), (0.0, 1000, 40), (2.0, 50, 300)]
)
def test_proposals_are_those_of_the_library(score_thresh, limit, topk):
    detector = in_float64(tiny_detector("fasterrcnn", image_size=(64, 96), seed=1))
    rpn = detector.model.rpn
    rpn.score_thresh = score_thresh
    rpn._post_nms_top_n["testing"], rpn._pre_nms_top_n["testing"] = limit, topk
    detector = type(detector)(detector.model, detector.class_names)
    sizes = [(64, 96), (48, 96), (64, 70)]
    dense = raw(detector, sizes, (64, 96))
    boxes, valid, _ = propose(dense, size_limits(tuple(sizes), torch.device("cpu")))
    assert boxes.shape[1] == min(limit, sum(min(topk, rows) for rows in dense.head.level_sizes))
    wanted, scores = rpn.filter_proposals(dense.boxes(), dense.logits.flatten(), sizes, list(dense.head.level_sizes))
    for image in range(len(sizes)):
        found = boxes[image][valid[image]]
        assert valid[image].tolist() == sorted(valid[image].tolist(), reverse=True)
        torch.testing.assert_close(found, wanted[image], atol=1e-4, rtol=0)
        assert (boxes[image][~valid[image]] == torch.tensor([0.0, 0, 1, 1])).all()
    assert score_thresh < 1 or not valid.any()


def test_tiny_proposals_are_dropped_before_they_suppress():
    detector = in_float64(tiny_detector("fasterrcnn", image_size=(64, 96), seed=1))
    detector.model.rpn.min_size = 12.0
    detector = type(detector)(detector.model, detector.class_names)
    sizes = [(64, 96)]
    dense = raw(detector, sizes, (64, 96))
    boxes, valid, _ = propose(dense, size_limits(tuple(sizes), torch.device("cpu")))
    sides = (boxes[..., 2:] - boxes[..., :2]).amin(-1)[valid]
    assert len(sides) > 0
    assert sides.min() >= 12
    wanted, _ = detector.model.rpn.filter_proposals(
        dense.boxes(), dense.logits.flatten(), sizes, list(dense.head.level_sizes)
    )
    torch.testing.assert_close(boxes[0][valid[0]], wanted[0], atol=1e-4, rtol=0)


def test_logits_whose_sigmoids_round_to_one_compete_by_logit_where_the_library_has_it_so():
    head = raw(tiny_detector("fasterrcnn"), [(64, 64)], (64, 64)).head
    anchors = torch.tensor([[0.0, 0, 8, 8], [16, 16, 32, 32], [40, 40, 60, 60]])
    head = replace(head, anchors=anchors, level_sizes=(1, 2))
    dense = DensePredictions(torch.tensor([[[40.0], [42.0], [41.0]]]), torch.zeros(1, 3, 4), head)
    limits = size_limits(((64, 64),), torch.device("cpu"))
    assert torch.equal(propose(dense, limits)[0][0], anchors)
    assert torch.equal(propose(dense, limits, by_logit=True)[0][0], anchors[[1, 2, 0]])


def test_proposals_carry_no_gradient():
    detector = tiny_detector("fasterrcnn")
    dense = raw(detector, [(64, 64)], (64, 64))
    dense = type(dense)(dense.logits.requires_grad_(), dense.deltas.requires_grad_(), dense.head)
    boxes, valid, _ = propose(dense, size_limits(((64, 64),), torch.device("cpu")))
    assert not boxes.requires_grad
    assert valid.any()


def test_size_limits_are_width_and_height_even_after_inference_mode():
    with torch.inference_mode():
        limits = size_limits(((3, 5), (7, 11)), torch.device("cpu"))
    assert limits.tolist() == [[5, 3], [11, 7]]
    assert not limits.is_inference()
