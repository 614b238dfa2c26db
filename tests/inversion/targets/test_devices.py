"""Every target rule and its loss on a device without float64: the same numbers as on the CPU, all of them there."""

from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
import torch

from detinv.detectors.heads.assigners import AnchorAssigner, PointAssigner
from detinv.detectors.heads.codec import DeltaCodec, DistanceCodec
from detinv.detectors.heads.predictions import (
    DenseHead,
    DensePredictions,
    PostProcessing,
    Predictions,
    RoIPredictions,
)
from detinv.detectors.heads.proposals import propose
from detinv.detectors.heads.scoring import Scoring
from detinv.detectors.heads.task_aligned import TaskAlignedAssigner
from detinv.detectors.rows import TargetRows
from detinv.detectors.targets import questions, target_values
from detinv.inversion.callbacks.pseudo_targets import PseudoTargets
from detinv.inversion.objective.objective import TERM_NAMES, Objective
from detinv.inversion.targets.base import Targets
from detinv.inversion.targets.code import CodeRule
from detinv.inversion.targets.matching import HungarianRule
from detinv.inversion.targets.paper import PaperRule
from detinv.inversion.targets.single import SingleObjectRule
from detinv.layouts.batch import LayoutBatch
from detinv.layouts.layout import Layout
from tests.pretended_device import DEVICE, PretendedDevice

EVERYTHING = Objective({name: 1.0 for name in TERM_NAMES if name not in ("total_variation", "alpha_norm")})
RULES = [PaperRule(), CodeRule(), SingleObjectRule()]
POST = PostProcessing(0.05, 0.5, 100, 100)
# Assigner, codec and scoring; None is a head without suppression.
HEADS = {
    "anchors": (AnchorAssigner(), DeltaCodec(), Scoring()),
    "points": (PointAssigner(), DistanceCodec(), Scoring(class_power=0.5, quality_power=0.5)),
    "task-aligned": (TaskAlignedAssigner(), DistanceCodec(), Scoring()),
    "softmax": (AnchorAssigner(), DeltaCodec(), Scoring("softmax", background=True)),
    "objectness": (AnchorAssigner(), DeltaCodec(), Scoring(quality_power=1.0, objectness=True)),
    "maxima": (AnchorAssigner(), DeltaCodec(), Scoring()),
    "matched": (None, DeltaCodec(), Scoring()),
    "matched softmax": (None, DeltaCodec(), Scoring("softmax", background=True)),
}


def batch():
    masks = torch.zeros(2, 64, 64, dtype=torch.bool)
    masks[0, 8:30, 8:30] = masks[1, 33:55, 9:31] = True
    return LayoutBatch.collate(
        [
            Layout(torch.tensor([[8.0, 8, 30, 30], [9, 33, 31, 55]]), torch.tensor([2, 1]), (64, 64), "two", masks),
            Layout(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), (64, 64), "none"),
        ]
    )


def dense(kind, classes=3):
    assigner, codec, scoring = HEADS[kind]
    generator = torch.Generator().manual_seed(1)
    steps = [(x, y, side) for side in (8, 16) for y in range(0, 64, side) for x in range(0, 64, side)]
    anchors = torch.tensor([[x, y, x + side, y + side] for x, y, side in steps], dtype=torch.float32)
    post = POST if assigner is not None else replace(POST, nms_thresh=None)
    if kind == "maxima":
        post = replace(POST, nms_thresh=None, peak_kernel=3)
    quality = scoring.quality_power > 0
    return DensePredictions(
        2 * torch.randn(2, 80, classes + int(scoring.background), generator=generator),
        torch.randn(2, 80, 4, generator=generator),
        DenseHead(anchors, (64, 16), codec, assigner, post, scoring),
        torch.randn(2, 80, generator=generator) if quality else None,
        identities=torch.stack([torch.randperm(80, generator=generator) for _ in range(2)])
        if assigner is None
        else None,
    )


def second_stage(layouts):
    generator = torch.Generator().manual_seed(2)
    head = dense("anchors", classes=1)
    proposals = propose(head, layouts.limits)
    rois = torch.cat([proposals.boxes, layouts.boxes], 1)
    count = rois.shape[1]
    roi = RoIPredictions(
        rois,
        torch.cat([proposals.valid, layouts.valid], 1),
        torch.randn(2, count, 4, generator=generator),
        torch.randn(2, count, 3, 4, generator=generator),
        DeltaCodec((10.0, 10.0, 5.0, 5.0)),
        torch.zeros(2, count, dtype=torch.int64),
        2,
        POST,
        torch.randn(2, 2, 3, 14, 14, generator=generator),
        proposals.rows,
    )
    return Predictions(head, roi)


def moved(value: Any, device: torch.device) -> Any:
    """Tensors in nested dataclasses, on another device."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(
            value, **{one.name: moved(getattr(value, one.name), device) for one in fields(value) if one.init}
        )
    return value


def tensors_of(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    return (
        [tensor for one in fields(value) for tensor in tensors_of(getattr(value, one.name))]
        if is_dataclass(value)
        else []
    )


def assert_same_there(rule, predictions, layouts):
    """Targets of two steps, of which a matching remembers the first."""
    here = PseudoTargets(rule, HungarianRule())
    wanted = here.build("a", predictions, layouts, Targets())
    again = here.build("a", predictions, layouts, wanted)
    with PretendedDevice():
        there = PseudoTargets(rule, HungarianRule())
        away = layouts.to(DEVICE)
        found = there.build("a", moved(predictions, DEVICE), away, Targets())
        assert all(tensor.device == DEVICE for tensor in tensors_of(found))
        found = moved(there.build("a", moved(predictions, DEVICE), away, found), torch.device("cpu"))
        terms, gradients = loss_of(moved(predictions, DEVICE), moved(again, DEVICE))
        assert all(term.device == DEVICE for term in terms)
        terms, gradients = ([one.cpu() for one in values] for values in (terms, gradients))
    assert tensors_of(found)
    for one, other in zip(tensors_of(found), tensors_of(again), strict=True):
        torch.testing.assert_close(one, other)
    for found_there, wanted_here in zip((terms, gradients), loss_of(predictions, again), strict=True):
        assert wanted_here
        for one, other in zip(found_there, wanted_here, strict=True):
            torch.testing.assert_close(one, other)


def loss_of(predictions, targets):
    """The terms of the objective, and the gradient of their sum to every raw output that takes part."""
    outputs = [output.requires_grad_() for output in predictions.outputs()]
    terms = list(EVERYTHING.detector_terms(predictions, targets).values())
    total = torch.stack([term.sum() for term in terms]).sum()
    gradients = torch.autograd.grad(total, outputs, allow_unused=True)
    return terms, [gradient for gradient in gradients if gradient is not None]


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_targets_of_a_dense_head(rule, kind):
    assert_same_there(rule, Predictions(dense(kind)), batch())


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_targets_of_two_stages(rule):
    layouts = batch()
    assert layouts.masks is not None
    assert_same_there(rule, second_stage(layouts), layouts)


def test_proposals():
    predictions, limits = dense("anchors", classes=1), batch().limits
    with PretendedDevice():
        found = propose(moved(predictions, DEVICE), limits.to(DEVICE))
        found = [one.cpu() for one in found]
    for one, other in zip(found, propose(predictions, limits), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("kind", [*HEADS, "two stages"])
def test_scalars_of_rows(kind):
    predictions = second_stage(batch()) if kind == "two stages" else Predictions(dense(kind))
    rows = TargetRows.of_batch(torch.tensor([[0, 1], [1, 0]]), torch.tensor([[2, 1], [0, 2]]), kind == "two stages")
    rows = replace(rows, boxes=torch.tensor([1.0, 2, 30, 40]).expand(2, 2, 4), proposal_rows=rows.rows)
    for question in questions(predictions):
        with PretendedDevice():
            found = target_values(moved(predictions, DEVICE), rows.to(DEVICE), question).cpu()
        torch.testing.assert_close(found, target_values(predictions, rows, question))
