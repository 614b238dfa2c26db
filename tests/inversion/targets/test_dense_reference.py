"""Targets and losses of a one-stage head against a slow loop over images, objects and rows, in float64."""

import math
from dataclasses import replace

import pytest
import torch

from detinv.detectors.heads.assigners import AnchorAssigner, PointAssigner
from detinv.detectors.heads.codec import DeltaCodec, DistanceCodec
from detinv.detectors.heads.predictions import DenseHead, DensePredictions, PostProcessing
from detinv.detectors.heads.scoring import Scoring
from detinv.inversion.objective.losses import TermOptions, dense_terms
from detinv.inversion.objective.objective import Objective
from detinv.inversion.targets.code import CodeRule
from detinv.layouts.batch import LayoutBatch
from detinv.layouts.layout import Layout

POST = PostProcessing(0.05, 0.5, 1000, 100)
LEVEL_WEIGHTS = (0.125, 0.5, 2.0)


def grid_anchors(strides=(8, 16, 32), size=64, factor=2.5, dtype=torch.float64):
    rows, sizes = [], []
    for stride in strides:
        count = 0
        for i in range(size // stride):
            for j in range(size // stride):
                x, y, half = j * stride + stride / 2, i * stride + stride / 2, factor * stride / 2
                rows.append([x - half, y - half, x + half, y + half])
                count += 1
        sizes.append(count)
    return torch.tensor(rows, dtype=dtype), tuple(sizes)


def layouts():
    def one(name, boxes, labels):
        return Layout(torch.tensor(boxes).view(-1, 4), torch.tensor(labels, dtype=torch.int64), (64, 64), name)

    return [
        one("two", [[4.0, 6.0, 27.0, 25.0], [30.0, 20.0, 60.0, 63.0]], [1, 0]),
        one("none", [], []),
        one("crowd", [[8.3, 8.1, 30.7, 29.4], [10.2, 9.6, 33.1, 31.8], [5.2, 40.1, 15.7, 52.3]], [2, 2, 1]),
    ]


def predictions(kind: str, seed: int = 0, batch: int = 3) -> DensePredictions:
    generator = torch.Generator().manual_seed(seed)
    if kind == "retinanet":
        anchors, sizes = grid_anchors()
        head = DenseHead(anchors, sizes, DeltaCodec(), AnchorAssigner(), POST)
        deltas = 0.1 * torch.randn(batch, len(anchors), 4, generator=generator, dtype=torch.float64)
        quality = None
    else:
        anchors, sizes = grid_anchors(factor=0.5)
        scoring = Scoring(class_power=0.5, quality_power=0.5)
        head = DenseHead(anchors, sizes, DistanceCodec(), PointAssigner(radius=3.0), POST, scoring)
        deltas = 3 + torch.randn(batch, len(anchors), 4, generator=generator, dtype=torch.float64)
        quality = 2 + torch.randn(batch, len(anchors), generator=generator, dtype=torch.float64)
    logits = 2 * torch.randn(batch, len(anchors), 3, generator=generator, dtype=torch.float64) + 0.5
    return DensePredictions(logits, deltas, head, quality)


def iou(a, b):
    w = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    h = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h
    return w * h / union


def giou(a, b):
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    w = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    h = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h
    return w * h / union - (hull - union) / hull


def owners_by_iou(anchors, boxes):
    """Section B.1 step 1 with the mend that each object owns its best anchor, greedily."""
    table = [[iou(anchor, box) for box in boxes] for anchor in anchors]
    owner = [-1] * len(anchors)
    for a, row in enumerate(table):
        if not row:
            continue
        best = max(range(len(row)), key=lambda j: (row[j], -j))
        ties = any(table[a][j] == max(t[j] for t in table) and table[a][j] > 0 for j in range(len(boxes)))
        if row[best] >= 0.7 or ties:
            owner[a] = best
    free_objects, free_anchors, best_of = set(range(len(boxes))), set(range(len(anchors))), {}
    while free_objects:
        pairs = [(j, a) for j in free_objects for a in free_anchors]
        j, a = max(pairs, key=lambda p: (table[p[1]][p[0]], -p[0], -p[1]))
        owner[a] = j
        best_of[j] = a
        free_objects.remove(j)
        free_anchors.remove(a)
    candidates = {}
    for j in range(len(boxes)):
        mine = [a for a in range(len(anchors)) if table[a].index(max(table[a])) == j and table[a][j] >= 0.5]
        ranked = sorted(mine, key=lambda a: -table[a][j])
        candidates[j] = [best_of[j], *[a for a in ranked if a != best_of[j]]][:16]
    return owner, candidates


def owners_by_point(anchors, boxes, sizes):
    owner = [-1] * len(anchors)
    side = [a[2] - a[0] for a in anchors]
    points = [((a[0] + a[2]) / 2, (a[1] + a[3]) / 2) for a in anchors]
    first, last = range(sizes[0]), range(len(anchors) - sizes[-1], len(anchors))
    low = [0 if a in first else 4 * side[a] for a in range(len(anchors))]
    high = [math.inf if a in last else 8 * side[a] for a in range(len(anchors))]
    for a, (x, y) in enumerate(points):
        smallest = math.inf
        for j, b in enumerate(boxes):
            distances = (x - b[0], y - b[1], b[2] - x, b[3] - y)
            offset = max(abs((b[0] + b[2]) / 2 - x), abs((b[1] + b[3]) / 2 - y))
            size = (b[2] - b[0]) * (b[3] - b[1])
            if min(distances) > 0 and offset < 3 * side[a] and low[a] < max(distances) < high[a] and size < smallest:
                owner[a], smallest = j, size
    candidates, taken = {}, set()

    def key(j, a):
        b, (x, y) = boxes[j], points[a]
        inside = min(x - b[0], y - b[1], b[2] - x, b[3] - y) > 0
        half = max(b[2] - b[0], b[3] - b[1]) / 2
        offset = max(abs((b[0] + b[2]) / 2 - x), abs((b[1] + b[3]) / 2 - y))
        return 2 * inside + (low[a] < half <= high[a]) - offset / (1 + offset)

    open_objects = set(range(len(boxes)))
    while open_objects:
        pairs = [(j, a) for j in open_objects for a in range(len(anchors)) if a not in taken]
        j, a = max(pairs, key=lambda p: (torch.tensor(key(*p)).float().item(), -p[0], -p[1]))
        candidates[j] = [a]
        taken.add(a)
        open_objects.remove(j)
    for j, (a,) in candidates.items():
        owner[a] = j
    return owner, candidates


def code(anchor, box, distances: bool):
    """What a row would have to regress to give the box."""
    x, y, width, height = centre_and_sides(anchor)
    if distances:
        return [(x - box[0]) / width, (y - box[1]) / height, (box[2] - x) / width, (box[3] - y) / height]
    goal_x, goal_y, goal_width, goal_height = centre_and_sides(box)
    scales = [math.log(goal_width / width), math.log(goal_height / height)]
    return [(goal_x - x) / width, (goal_y - y) / height, *scales]


def centre_and_sides(box):
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box[2] - box[0], box[3] - box[1]


def mean_of_rows(losses, background_rows: int | None):
    """Losses of (whether the row stands for an object, loss): the mean, or that of each kind and their sum."""
    zero = torch.zeros((), dtype=torch.float64)
    if background_rows is None:
        return sum((loss for _, loss in losses), zero) / max(len(losses), 1)
    mine, others = ([loss for stands, loss in losses if stands == kind] for kind in (True, False))
    return sum(mine, zero) / max(len(mine), 1) + sum(others, zero) / max(len(others), background_rows)


def reference_terms(
    p: DensePredictions, layout: Layout, image: int, level_weights, background_rows: int | None = None
) -> dict[str, torch.Tensor]:
    anchors, boxes, labels = p.head.anchors.tolist(), layout.boxes.tolist(), layout.labels.tolist()
    if p.quality_logits is None:
        owner, candidates = owners_by_iou(anchors, boxes)
    else:
        owner, candidates = owners_by_point(anchors, boxes, p.head.level_sizes)
    decoded = p.boxes()[image]
    level = p.head.levels.tolist()
    cls, reg, far, ctr, positive = [], [], [], [], torch.zeros((), dtype=torch.float64)
    chosen = {}
    for j, rows in candidates.items():
        chosen[j] = max(rows, key=lambda a: p.logits[image, a, labels[j]].item())
        positive = positive - level_weights[level[chosen[j]]] * p.logits[image, chosen[j], labels[j]] / 100
    for a in range(len(anchors)):
        scores = p.logits[image, a].sigmoid()
        if p.quality_logits is not None:
            scores = (scores * p.quality_logits[image, a].sigmoid()).sqrt()
        match = owner[a]
        if match < 0 and scores.max() > 0.5:
            overlaps = [iou(decoded[a].tolist(), box) for box in boxes]
            match = overlaps.index(max(overlaps)) if overlaps and max(overlaps) >= 0.5 else -2
        if match == -1:
            continue
        weight = level_weights[level[a]]
        loss = torch.zeros((), dtype=torch.float64)
        for k in range(p.logits.shape[2]):
            q = p.logits[image, a, k].sigmoid()
            wanted = match >= 0 and labels[match] == k
            pt, alpha = (q, 0.25) if wanted else (1 - q, 0.75)
            loss = loss - alpha * (1 - pt) ** 2 * torch.log(pt)
        cls.append((match >= 0, weight * loss))
        if match >= 0:
            goal = boxes[match]
            reg.append((weight, decoded[a], goal))
            wanted_code = code(anchors[a], goal, p.quality_logits is not None)
            far += [weight * (p.deltas[image, a, k] - wanted_code[k]).abs() for k in range(4)]
        if owner[a] >= 0 and p.quality_logits is not None:
            x, y = (anchors[a][0] + anchors[a][2]) / 2, (anchors[a][1] + anchors[a][3]) / 2
            b = boxes[owner[a]]
            left, top, right, bottom = (max(v, 0) for v in (x - b[0], y - b[1], b[2] - x, b[3] - y))
            goal_q = math.sqrt(min(left, right) / max(left, right, 1e-6) * min(top, bottom) / max(top, bottom, 1e-6))
            if a in chosen.values():
                goal_q = 1.0
            q = p.quality_logits[image, a].sigmoid()
            ctr.append(-weight * (goal_q * torch.log(q) + (1 - goal_q) * torch.log(1 - q)))
    zero = torch.zeros((), dtype=torch.float64)
    terms = {
        "cls": mean_of_rows(cls, background_rows),
        "positive": positive,
        "reg": sum((w * (1 - giou(b, g)) for w, b, g in reg), zero) / max(len(reg), 1),
        "deltas": sum(far, zero) / max(len(reg), 1),
    }
    if p.quality_logits is not None:
        terms["centerness"] = sum(ctr, zero) / max(len(ctr), 1)
    return terms


def our_terms(p: DensePredictions, batch: LayoutBatch, deltas: bool = True, background_rows: int | None = None):
    assignment = p.head.assigner.assign(p.head.anchors, p.head.level_sizes, batch.boxes, batch.valid)
    targets = CodeRule(topk=1000).dense(p.detach(), batch, assignment)
    options = TermOptions(deltas=deltas, background_rows=background_rows)
    return dense_terms(p, targets, torch.tensor(LEVEL_WEIGHTS, dtype=torch.float64), options)


def collate_double(items, slots=None):
    batch = LayoutBatch.collate(items, slots=slots)
    return replace(batch, boxes=batch.boxes.double())


@pytest.mark.parametrize("kind", ["retinanet", "fcos"])
@pytest.mark.parametrize(("seed", "background_rows"), [(0, None), (1, None), (2, None), (3, None), (1, 1), (2, 9)])
def test_terms_and_gradients_equal_the_slow_loop(kind: str, seed: int, background_rows: int | None):
    items = layouts()
    p = predictions(kind, seed)
    logits, deltas = p.logits.requires_grad_(), p.deltas.requires_grad_()
    terms = our_terms(p, collate_double(items), background_rows=background_rows)
    references = [reference_terms(p, layout, i, LEVEL_WEIGHTS, background_rows) for i, layout in enumerate(items)]
    for image, expected in enumerate(references):
        assert set(expected) == set(terms)
        for name, value in expected.items():
            close = {"atol": 1e-5, "rtol": 1e-5, "msg": lambda m, n=name: f"{n}: {m}"}
            torch.testing.assert_close(terms[name][image], value, **close)
    ours = torch.autograd.grad(sum(value.sum() for value in terms.values()), (logits, deltas))
    slow = sum(sum(expected.values()) for expected in references)
    for got, wanted in zip(ours, torch.autograd.grad(slow, (logits, deltas)), strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-6, rtol=1e-4)


def test_deltas_are_compared_only_where_that_is_asked_for():
    p, batch = predictions("fcos"), collate_double(layouts())
    assert our_terms(p, batch).keys() - our_terms(p, batch, deltas=False).keys() == {"deltas"}
    assert Objective({"reg": 1, "deltas": None}).options.deltas is False
    assert Objective({"reg": 1, "deltas": 2}).options.deltas is True


@pytest.mark.parametrize("kind", ["retinanet", "fcos"])
def test_rows_without_target_get_no_gradient(kind: str):
    p = predictions(kind)
    p.logits.requires_grad_()
    batch = collate_double(layouts())
    assignment = p.head.assigner.assign(p.head.anchors, p.head.level_sizes, batch.boxes, batch.valid)
    targets = CodeRule().dense(p.detach(), batch, assignment)
    terms = dense_terms(p, targets, torch.ones(3, dtype=torch.float64))
    (gradient,) = torch.autograd.grad(sum(v.sum() for v in terms.values()), p.logits)
    compared = torch.zeros(p.logits.shape[:2], dtype=torch.bool)
    compared.scatter_(1, targets.rows, targets.class_weights.amax(-1) > 0)
    assert (~compared).any()
    free = gradient[~compared]
    free_rows = torch.nonzero(~compared).tolist()
    positive = {(b, r) for b, rows in enumerate(targets.positive_rows.tolist()) for r in rows}
    assert all(bool((g == 0).all()) for g, key in zip(free, free_rows, strict=True) if tuple(key) not in positive)


@pytest.mark.parametrize("kind", ["retinanet", "fcos"])
def test_padding_slots_batch_and_order_change_nothing(kind: str):
    items, p = layouts(), predictions(kind)
    together = our_terms(p, collate_double(items))
    padded = our_terms(p, collate_double(items, slots=9))
    for name, value in together.items():
        torch.testing.assert_close(padded[name], value, atol=0, rtol=0)
    for image, layout in enumerate(items):
        alone = DensePredictions(
            p.logits[image : image + 1],
            p.deltas[image : image + 1],
            p.head,
            None if p.quality_logits is None else p.quality_logits[image : image + 1],
        )
        for name, value in our_terms(alone, collate_double([layout])).items():
            torch.testing.assert_close(value[0], together[name][image], atol=1e-9, rtol=0)
    turned = [Layout(item.boxes.flip(0), item.labels.flip(0), item.image_size, item.id) for item in items]
    for name, value in our_terms(p, collate_double(turned)).items():
        torch.testing.assert_close(value, together[name], atol=1e-9, rtol=0)


def test_every_object_owns_a_row_even_in_a_crowd():
    """Equal boxes: the published matcher leaves all but one without any positive."""
    anchors, sizes = grid_anchors()
    boxes = torch.tensor([[10.0, 10.0, 30.0, 30.0]] * 4, dtype=torch.float64)[None]
    valid = torch.ones(1, 4, dtype=torch.bool)
    for assigner in (AnchorAssigner(), PointAssigner(radius=3.0)):
        owner = assigner.assign(anchors, sizes, boxes, valid).owner[0].tolist()
        assert {0, 1, 2, 3} <= set(owner)


def test_a_crowd_has_more_rows_compared():
    """As many rows as exceed the threshold around many objects, which a fixed number would cut off."""
    items = layouts()
    p = predictions("retinanet")
    p = replace(p, logits=torch.full_like(p.logits, 3.0))
    batch = collate_double(items)
    assignment = p.head.assigner.assign(p.head.anchors, p.head.level_sizes, batch.boxes, batch.valid)
    fixed = CodeRule(topk=2).dense(p, batch, assignment).rows.shape[1]
    by_object = CodeRule(topk=2, topk_per_object=3).dense(p, batch, assignment).rows.shape[1]
    slots = batch.valid.shape[1]
    sizes = p.head.level_sizes
    assert fixed == sum(min(size, 2) for size in sizes) < by_object == sum(min(size, 3 * slots) for size in sizes)


def test_boxes_count_by_odds_where_training_would_not_assign_them():
    items = layouts()
    p = predictions("retinanet")
    batch = collate_double(items)
    assignment = p.head.assigner.assign(p.head.anchors, p.head.level_sizes, batch.boxes, batch.valid)
    plain, weighed = (
        CodeRule(topk=1000, boxes_by_odds=by_odds).dense(p, batch, assignment) for by_odds in (False, True)
    )
    assert torch.equal(plain.rows, weighed.rows) and torch.equal(plain.box_weights > 0, weighed.box_weights > 0)
    decoded, fewer = p.boxes(), 0
    for image, layout in enumerate(items):
        rows, boxes = plain.rows[image].tolist(), layout.boxes.tolist()
        odds, of = {}, {}
        for row, weight in zip(rows, plain.box_weights[image].tolist(), strict=True):
            if weight:
                score = p.logits[image, row].sigmoid().max().item()
                overlaps = [iou(decoded[image, row].tolist(), box) for box in boxes]
                owner = assignment.owner[image, row].item()
                odds[row], of[row] = score / (1 - score), owner if owner >= 0 else overlaps.index(max(overlaps))
        for place, row in enumerate(rows):
            if row not in odds:
                continue
            best = max(odds[other] for other in odds if of[other] == of[row])
            owned = assignment.owner[image, row] >= 0
            assert weighed.box_weights[image, place].item() == pytest.approx(1 if owned else odds[row] / best, rel=1e-5)
            fewer += not owned and odds[row] < best
    assert fewer
