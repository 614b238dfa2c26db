"""The paper's rule: f(Z) is exactly the layout."""

from dataclasses import replace

import pytest
import torch
from torchvision.ops import batched_nms

from detinv.detectors.heads.assigners import AnchorAssigner
from detinv.detectors.heads.codec import DeltaCodec, DistanceCodec
from detinv.detectors.heads.predictions import DenseHead, DensePredictions, PostProcessing, RoIPredictions
from detinv.detectors.heads.scoring import Scoring
from detinv.inversion.targets.paper import PaperRule
from detinv.layouts.batch import LayoutBatch
from detinv.layouts.layout import Layout


def random_scene(seed: int, objects: int, anchors: int, classes: int, topk: int, quality: bool = False):
    """Dense random boxes, many of them on the objects, with confident random scores."""
    generator = torch.Generator().manual_seed(seed)

    def boxes(count: int) -> torch.Tensor:
        corner = torch.rand(count, 2, generator=generator) * 70
        return torch.cat([corner, corner + 8 + torch.rand(count, 2, generator=generator) * 40], 1)

    wanted = boxes(40)
    keep: list[int] = []
    labels = torch.randint(classes, (40,), generator=generator)
    for index in range(40):
        overlap = batched_nms(wanted[[*keep, index]], torch.ones(len(keep) + 1), labels[[*keep, index]], 0.35)
        if len(overlap) == len(keep) + 1 and len(keep) < objects:
            keep.append(index)
    layout = Layout(wanted[keep], labels[keep], (128, 128), f"scene{seed}")
    rows = boxes(anchors)
    near = torch.randint(max(len(keep), 1), (anchors // 2,), generator=generator)
    if keep:
        rows[: anchors // 2] = layout.boxes[near] + torch.randn(anchors // 2, 4, generator=generator)
    head = DenseHead(
        rows,
        (anchors // 2, anchors - anchors // 2),
        DeltaCodec(),
        AnchorAssigner(),
        PostProcessing(0.5, 0.5, topk, 300),
    )
    logits = 3 * torch.randn(1, anchors, classes, generator=generator)
    deltas = 0.05 * torch.randn(1, anchors, 4, generator=generator)
    if not quality:
        return layout, DensePredictions(logits, deltas, head)
    q = 2 * torch.randn(1, anchors, generator=generator)
    fcos = replace(head, codec=DistanceCodec(), scoring=Scoring(class_power=0.5, quality_power=0.5))
    return layout, DensePredictions(logits, 0.5 + deltas, fcos, q)


def post_process(scores, boxes, level_sizes, post):
    """f in words: threshold, top-k pairs per level, class-wise suppression, most detections."""
    kept_boxes, kept_scores, kept_labels = [], [], []
    start = 0
    for size in level_sizes:
        flat = scores[start : start + size].flatten()
        index = torch.nonzero(flat > post.score_thresh)[:, 0]
        index = index[flat[index].argsort(descending=True, stable=True)[: post.topk_candidates]]
        kept_boxes.append(boxes[start : start + size][index // scores.shape[1]])
        kept_scores.append(flat[index])
        kept_labels.append(index % scores.shape[1])
        start += size
    b, s, c = torch.cat(kept_boxes), torch.cat(kept_scores), torch.cat(kept_labels)
    keep = batched_nms(b, s, c, post.nms_thresh)[: post.detections_per_image]
    return b[keep], c[keep]


def substitute(predictions: DensePredictions, targets) -> tuple[torch.Tensor, torch.Tensor]:
    """Z: current scores and boxes with the targets written into the compared entries."""
    scores = predictions.logits.sigmoid()
    if predictions.quality_logits is not None:
        scores = (scores * predictions.quality_logits.sigmoid()[..., None]).sqrt()
    boxes = predictions.boxes()
    scores, boxes = scores[0].clone(), boxes[0].clone()
    for place, row in enumerate(targets.rows[0].tolist()):
        change = targets.class_weights[0, place] > 0
        scores[row, change] = targets.class_targets[0, place][change]
        if targets.box_weights[0, place] > 0:
            boxes[row] = targets.box_targets[0, place]
    return scores, boxes


@pytest.mark.parametrize("quality", [False, True])
@pytest.mark.parametrize("topk", [100, 100_000])
@pytest.mark.parametrize("seed", range(12))
def test_f_of_the_targets_is_the_layout(seed: int, topk: int, quality: bool):
    layout, predictions = random_scene(seed, objects=seed % 12, anchors=400, classes=3, topk=topk, quality=quality)
    batch = LayoutBatch.collate([layout])
    head = predictions.head
    assignment = head.assigner.assign(head.anchors, head.level_sizes, batch.boxes, batch.valid)

    targets = PaperRule(score_thresh=0.5, topk=1000).dense(predictions, batch, assignment)
    reachable = head.codec.expresses(batch.boxes, head.anchors)[0]
    assert all(reachable[slot, row] for slot, row in enumerate(targets.positive_rows[0].tolist()[: len(layout)]))
    scores, boxes = substitute(predictions, targets)
    found_boxes, found_labels = post_process(scores, boxes, head.level_sizes, head.post)

    found = sorted((int(c), *b.tolist()) for b, c in zip(found_boxes, found_labels, strict=True))
    wanted = sorted((int(c), *b.tolist()) for b, c in zip(layout.boxes, layout.labels, strict=True))
    assert found == wanted


def test_untouched_candidates_stay_free():
    """The change is small: only the objects' rows and uncovered survivors have any weight."""
    layout, predictions = random_scene(3, objects=6, anchors=400, classes=3, topk=1000)
    batch = LayoutBatch.collate([layout])
    head = predictions.head
    assignment = head.assigner.assign(head.anchors, head.level_sizes, batch.boxes, batch.valid)
    targets = PaperRule().dense(predictions, batch, assignment)

    scores = predictions.logits.sigmoid()[0][targets.rows[0]]
    pushed = (targets.class_weights[0] > 0) & (targets.box_weights[0] == 0)[:, None]
    assert pushed.any()
    assert bool((scores[pushed] > 0.5).all())
    assert targets.box_weights.sum() == len(layout)


@pytest.mark.parametrize("seed", range(10))
def test_second_stage_targets_give_the_layout(seed: int):
    generator = torch.Generator().manual_seed(seed)
    layout, _ = random_scene(seed, objects=5, anchors=10, classes=3, topk=100)
    batch = LayoutBatch.collate([layout])
    spread = torch.randn(60, 4, generator=generator) * 2
    rois = torch.cat([layout.boxes[torch.arange(60) % len(layout)] + spread, layout.boxes])
    rois = torch.cat([rois[:, :2], torch.maximum(rois[:, 2:], rois[:, :2] + 4)], 1)
    predictions = RoIPredictions(
        rois[None],
        torch.ones(1, len(rois), dtype=torch.bool),
        3 * torch.randn(1, len(rois), 4, generator=generator),
        0.3 * torch.randn(1, len(rois), 3, 4, generator=generator),
        DeltaCodec((10.0, 10.0, 5.0, 5.0)),
        torch.zeros(1, len(rois), dtype=torch.int64),
        len(layout),
        PostProcessing(0.5, 0.5, 1000, 100),
    )
    targets = PaperRule().roi(predictions, batch)
    scores = predictions.logits.softmax(-1)[0, :, :3].clone()
    boxes = predictions.codec.decode(predictions.deltas, predictions.rois[:, :, None].expand(-1, -1, 3, -1))[0]
    flat_boxes = boxes.clone()
    for row in torch.nonzero(targets.class_weights[0])[:, 0].tolist():
        label = int(targets.labels[0, row])
        scores[row] = 0
        if label < 3:
            scores[row, label] = 1
            decoded = predictions.codec.decode(targets.delta_targets[0, row], rois[row])
            flat_boxes[row, label] = decoded
    found = []
    for label in range(3):
        keep = torch.nonzero(scores[:, label] > 0.5)[:, 0]
        survivors = keep[batched_nms(flat_boxes[keep, label], scores[keep, label], torch.zeros_like(keep), 0.5)]
        found += [(label, *[round(v, 2) for v in flat_boxes[row, label].tolist()]) for row in survivors]
    wanted = [(int(c), *[round(v, 2) for v in b.tolist()]) for b, c in zip(layout.boxes, layout.labels, strict=True)]
    assert [item[0] for item in sorted(found)] == [item[0] for item in sorted(wanted)]
    torch.testing.assert_close(torch.tensor(sorted(found)), torch.tensor(sorted(wanted)), atol=0.02, rtol=0)
