"""The fate of every candidate: what is reported, and what would have to be otherwise for the rest."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from detinv.detectors.heads.trace import Fate, Trace, trace_dense, trace_proposals, trace_second_stage
from detinv.layouts.boxes import pairwise_iou
from tests.fakes import block_image, in_float64, tiny_detector

FAMILIES = ("retinanet", "fcos", "ssd", "fasterrcnn")
SIZE = (64, 64)
EVERY = 10**9
LIFTED: dict[Fate, dict[str, Any]] = {
    Fate.LOW_SCORE: {"score_thresh": -1.0},
    Fate.BEYOND_CANDIDATES: {"topk_candidates": EVERY},
    Fate.SUPPRESSED: {"nms_thresh": 1.0},
    Fate.BEYOND_DETECTIONS: {"detections_per_image": EVERY},
}


def predicted(family: str):
    detector = in_float64(tiny_detector(family))
    with torch.no_grad():
        return detector, detector(block_image(SIZE)[None].float() / 255)


def traced(predictions, **constants: Any) -> Trace:
    """Trace the last stage, with few candidates and a strict suppression unless other constants are given."""
    few = {"topk_candidates": 40, "nms_thresh": 0.2, "detections_per_image": 10} | constants
    if predictions.roi is not None:
        return trace_second_stage(replace(predictions.roi, post=replace(predictions.roi.post, **few)), 0, SIZE)
    head = predictions.dense.head
    return trace_dense(replace(predictions.dense, head=replace(head, post=replace(head.post, **few))), 0, SIZE)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_candidate_passes_the_step_at_which_it_ended_where_that_is_lifted(family: str):
    _, predictions = predicted(family)
    trace = traced(predictions)
    ended = {Fate(fate) for fate in trace.fates.unique().tolist()}
    # A second stage has no limit of candidates.
    wanted = set(LIFTED) - ({Fate.BEYOND_CANDIDATES} if family == "fasterrcnn" else set())
    assert ended >= wanted | {Fate.REPORTED}
    for fate in wanted:
        lifted = traced(predictions, **LIFTED[fate])
        stopped = trace.fates == fate
        assert (lifted.fates[stopped] > fate).all() or fate == Fate.LOW_SCORE
        assert (lifted.fates != fate).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_suppressor_was_kept_is_better_and_overlaps(family: str):
    _, predictions = predicted(family)
    trace = traced(predictions)
    classes = trace.scores.shape[1]
    stopped = (trace.fates.flatten() == Fate.SUPPRESSED).nonzero()[:, 0].tolist()
    assert stopped
    for candidate in stopped:
        by = trace.suppressor(candidate)
        assert trace.fates.flatten()[by] in (Fate.REPORTED, Fate.BEYOND_DETECTIONS)
        assert trace.scores.flatten()[by] >= trace.scores.flatten()[candidate]
        assert by % classes == candidate % classes
        boxes = trace.box_of(torch.tensor([candidate, by]))
        assert pairwise_iou(boxes[:1], boxes[1:])[0, 0] > trace.post.suppression - 1e-6
    with pytest.raises(ValueError, match="was not suppressed"):
        trace.suppressor(int(trace.reported()[0]))


def test_proposals_that_are_reported_are_those_of_the_second_stage():
    detector, _ = predicted("fasterrcnn")
    detector.model.rpn._post_nms_top_n["testing"] = 20
    detector = type(detector)(detector.model, detector.class_names)
    with torch.no_grad():
        predictions = detector(block_image(SIZE)[None].float() / 255)
    trace = trace_proposals(predictions.dense, predictions.roi, 0, SIZE)
    rows = (trace.fates[:, 0] == Fate.REPORTED).nonzero()[:, 0]
    torch.testing.assert_close(rows, predictions.roi.sources[0].sort().values)
    kept = trace.considered[trace.kept]
    assert set(rows.tolist()) <= set(kept.tolist())
    assert Fate.SUPPRESSED in trace.fates
    assert Fate.BEYOND_DETECTIONS in trace.fates
    # The levels are suppressed apart: boxes of two levels may coincide.
    by = trace.suppressor(int((trace.fates[:, 0] == Fate.SUPPRESSED).nonzero()[0]))
    assert by in kept
