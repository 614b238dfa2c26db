"""Targets and losses of a two-stage detector against slow loops."""

import pytest
import torch
import torch.nn.functional as F

from detinv.detectors.heads.assigners import AnchorAssigner
from detinv.detectors.heads.codec import DeltaCodec
from detinv.detectors.heads.predictions import DenseHead, DensePredictions, PostProcessing, RoIPredictions
from detinv.inversion.objective.losses import proposal_terms, roi_terms
from detinv.inversion.targets.code import CodeRule
from detinv.inversion.targets.shared import mask_targets
from detinv.layouts.batch import LayoutBatch
from detinv.layouts.boxes import pairwise_iou
from detinv.layouts.layout import Layout

POST = PostProcessing(0.05, 0.5, 1000, 100)
WEIGHTS = torch.tensor([0.5, 2.0])


def scenes():
    def one(name, boxes, labels):
        masks = torch.zeros(len(boxes), 64, 64, dtype=torch.bool)
        for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
            mask[int(y0) : int(y1), int(x0) : int((x0 + x1) / 2)] = True
        return Layout(torch.tensor(boxes).view(-1, 4), torch.tensor(labels, dtype=torch.int64), (64, 64), name, masks)

    return [
        one("two", [[4.0, 6.0, 28.0, 24.0], [30.0, 20.0, 60.0, 62.0]], [1, 0]),
        one("none", [], []),
        one("three", [[8.0, 8.0, 30.0, 30.0], [33.0, 9.0, 55.0, 31.0], [5.0, 40.0, 16.0, 52.0]], [2, 2, 1]),
    ]


def rpn(seed: int) -> DensePredictions:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(80, 2, generator=generator) * 50
    anchors = torch.cat([corner, corner + 6 + 25 * torch.rand(80, 2, generator=generator)], 1)
    head = DenseHead(anchors, (60, 20), DeltaCodec(), AnchorAssigner(), POST)
    return DensePredictions(
        torch.randn(3, 80, 1, generator=generator), torch.randn(3, 80, 4, generator=generator), head
    )


def second_stage(seed: int, batch: LayoutBatch) -> RoIPredictions:
    generator = torch.Generator().manual_seed(seed)
    near = batch.boxes.repeat(1, 8, 1) + 3 * torch.randn(3, 24, 4, generator=generator)
    near = torch.cat([near[..., :2], torch.maximum(near[..., 2:], near[..., :2] + 3)], -1)
    corner = torch.rand(3, 20, 2, generator=generator) * 40
    far = torch.cat([corner, corner + 8 + 12 * torch.rand(3, 20, 2, generator=generator)], -1)
    rois = torch.cat([near, far, batch.boxes], 1)
    valid = torch.ones(rois.shape[:2], dtype=torch.bool)
    valid[:, 40:44] = False
    valid[:, 44:] = batch.valid
    count = rois.shape[1]
    return RoIPredictions(
        rois,
        valid,
        torch.randn(3, count, 4, generator=generator),
        torch.randn(3, count, 3, 4, generator=generator),
        DeltaCodec((10.0, 10.0, 5.0, 5.0)),
        torch.randint(0, 2, (3, count), generator=generator),
        batch.boxes.shape[1],
        POST,
        torch.randn(3, 3, 3, 14, 14, generator=generator),
    )


@pytest.mark.parametrize("seed", range(5))
def test_proposal_terms_equal_the_slow_loop(seed: int):
    batch, predictions = LayoutBatch.collate(scenes()), rpn(seed)
    head = predictions.head
    rule = CodeRule(proposals_per_image=20)
    assignment = head.assigner.assign(head.anchors, head.level_sizes, batch.boxes, batch.valid)
    terms = proposal_terms(predictions, rule.proposals(predictions, batch, assignment), WEIGHTS)
    for image, layout in enumerate(scenes()):
        owner, background = assignment.owner[image].tolist(), assignment.background[image].tolist()
        fg = [a for a in range(80) if owner[a] >= 0]
        bg = [a for a in range(80) if background[a]]
        assert not set(fg) & set(bg)
        take_fg = min(len(fg), 10)
        take_bg = min(20 - take_fg, len(bg))
        cls = reg = torch.zeros(())
        for a in fg:
            weight = WEIGHTS[0 if a < 60 else 1] * take_fg / len(fg)
            cls = cls - weight * F.logsigmoid(predictions.logits[image, a, 0])
            goal = head.codec.encode(layout.boxes[owner[a]], head.anchors[a])
            reg = reg + weight * (predictions.deltas[image, a] - goal).abs().sum()
        for a in bg:
            weight = WEIGHTS[0 if a < 60 else 1] * take_bg / len(bg)
            cls = cls - weight * F.logsigmoid(-predictions.logits[image, a, 0])
        torch.testing.assert_close(terms["rpn_cls"][image], cls / 20)
        torch.testing.assert_close(terms["rpn_reg"][image], reg / 20)


@pytest.mark.parametrize("seed", range(5))
def test_roi_terms_equal_the_slow_loop(seed: int):
    items = scenes()
    batch = LayoutBatch.collate(items)
    predictions = second_stage(seed, batch)
    rule = CodeRule(rois_per_image=16)
    terms = roi_terms(predictions, rule.roi(predictions, batch), WEIGHTS)
    for image, layout in enumerate(items):
        iou = pairwise_iou(predictions.rois[image], layout.boxes)
        rows = [r for r in range(iou.shape[0]) if predictions.valid[image, r]]
        fg = [r for r in rows if len(layout) and iou[r].max() >= 0.5]
        bg = [r for r in rows if r not in fg]
        take_fg = min(len(fg), 4)
        take_bg = min(16 - take_fg, len(bg))
        cls = reg = torch.zeros(())
        for r in rows:
            weight = WEIGHTS[predictions.levels[image, r]]
            weight = weight * (take_fg / len(fg) if r in fg else take_bg / len(bg)) / max(take_fg + take_bg, 1)
            label = 3
            if r in fg:
                nearest = int(iou[r].argmax())
                label = int(layout.labels[nearest])
                goal = predictions.codec.encode(layout.boxes[nearest], predictions.rois[image, r])
                reg = reg + weight * (predictions.deltas[image, r, label] - goal).abs().sum()
            cls = cls - weight * F.log_softmax(predictions.logits[image, r], 0)[label]
        positive = mask = torch.zeros(())
        for j in range(len(layout)):
            row = predictions.rois.shape[1] - predictions.given + j
            weight = WEIGHTS[predictions.levels[image, row]]
            label = int(layout.labels[j])
            positive = positive - weight * predictions.logits[image, row, label] / 100
            goal = mask_targets(batch, 14)[image, j]
            entropy = F.binary_cross_entropy_with_logits(predictions.mask_logits[image, j, label], goal)
            mask = mask + weight * entropy / len(layout)
        for name, value in {"roi_cls": cls, "roi_reg": reg, "roi_positive": positive, "roi_mask": mask}.items():
            torch.testing.assert_close(terms[name][image], value, msg=lambda m, n=name: f"{n}: {m}")


def test_mask_targets_are_the_mask_in_its_box():
    """The left half of each box is mask; so is the left half of the crop."""
    crops = mask_targets(LayoutBatch.collate(scenes()), 14)
    assert crops.shape == (3, 3, 14, 14)
    assert bool((crops[0, 0, :, :7] == 1).all())
    assert bool((crops[0, 0, :, 7:] == 0).all())


def test_no_gradient_reaches_the_regions():
    batch = LayoutBatch.collate(scenes())
    predictions = second_stage(0, batch)
    for output in (predictions.logits, predictions.deltas, predictions.mask_logits):
        output.requires_grad_()
    targets = CodeRule().roi(predictions, batch)
    assert not any(value.requires_grad for value in vars(targets).values() if isinstance(value, torch.Tensor))


@pytest.mark.parametrize("seed", range(3))
def test_boxes_of_regions_count_by_odds(seed: int):
    items = scenes()
    batch = LayoutBatch.collate(items)
    predictions = second_stage(seed, batch)
    plain, weighed = (CodeRule(boxes_by_odds=by_odds).roi(predictions, batch) for by_odds in (False, True))
    for name in ("labels", "class_weights", "delta_targets"):
        assert torch.equal(getattr(plain, name), getattr(weighed, name))
    chances, fewer = predictions.logits.softmax(-1), 0
    for image, layout in enumerate(items):
        odds = {}
        for region, weight in enumerate(plain.delta_weights[image].tolist()):
            if weight:
                overlaps = pairwise_iou(predictions.rois[image, region][None], layout.boxes)[0].tolist()
                owner = overlaps.index(max(overlaps))
                chance = chances[image, region, layout.labels[owner]].item()
                odds[region] = owner, chance / (1 - chance)
        for region, (owner, own) in odds.items():
            share = own / max(other for neighbour, other in odds.values() if neighbour == owner)
            wanted = plain.delta_weights[image, region].item() * share
            assert weighed.delta_weights[image, region].item() == pytest.approx(wanted, rel=1e-4)
            fewer += share < 1
    assert fewer
    assert torch.equal(weighed.delta_weights > 0, plain.delta_weights > 0)
