"""The rule for heads without suppression: the cheapest matching, f(Z) is the layout, and matches do not flap."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from scipy.optimize import linear_sum_assignment

from detinv.detectors.heads.codec import DistanceCodec
from detinv.detectors.heads.postprocess import postprocess
from detinv.detectors.heads.predictions import DenseHead, DensePredictions, PostProcessing, Predictions
from detinv.detectors.heads.scoring import Scoring
from detinv.detectors.transformers.codec import RelativeCodec
from detinv.inversion.targets.base import Targets
from detinv.inversion.targets.matching import HungarianRule, cheapest_rows
from detinv.inversion.targets.substitute import substitute
from detinv.layouts.batch import LayoutBatch
from detinv.layouts.layout import Layout

SIZE, CLASSES = (96, 128), 4
KINDS = ("softmax", "sigmoid", "quality", "objectness", "grid")


def random_layout(objects: int, seed: int) -> Layout:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(objects, 2, generator=generator) * torch.tensor([90.0, 60.0])
    boxes = torch.cat([corner, corner + 8 + 25 * torch.rand(objects, 2, generator=generator)], 1)
    return Layout(boxes, torch.randint(CLASSES, (objects,), generator=generator), SIZE, f"random{seed}")


def random_predictions(kind: str, images: int, seed: int, rows: int = 60) -> DensePredictions:
    """Queries of random boxes and confident random scores; "grid" has cells of which each reaches few boxes."""
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    post = PostProcessing(0.5, None, rows, rows, topk_per="image", clip="never")
    if kind == "grid":
        sides = [8] * 192 + [16] * 48
        steps = [(x, y, side) for side in (8, 16) for y in range(0, 96, side) for x in range(0, 128, side)]
        anchors = torch.tensor([[x, y, x + side, y + side] for x, y, side in steps], dtype=torch.float32)
        head = DenseHead(anchors, (192, 48), DistanceCodec(), None, replace(post, topk_candidates=240))
        deltas = noise(images, len(sides), 4).abs() + 0.5
        return DensePredictions(2 * noise(images, len(sides), CLASSES) - 2, deltas, head)
    whole = torch.tensor([0.0, 0.0, SIZE[1], SIZE[0]]).expand(rows, 4)
    scoring = {
        "softmax": Scoring("softmax", background=True),
        "sigmoid": Scoring(),
        "quality": Scoring(class_power=0.5, quality_power=0.5),
        "objectness": Scoring("softmax", class_power=1.0, quality_power=1.0, objectness=True),
    }[kind]
    if kind == "softmax":
        post = replace(post, best_class_only=True)
    columns = CLASSES + int(scoring.background)
    boxes = torch.cat([torch.rand(images, rows, 2, generator=generator), 0.3 * noise(images, rows, 2).sigmoid()], 2)
    quality = 2 * noise(images, rows) if kind in ("quality", "objectness") else None
    return DensePredictions(
        2 * noise(images, rows, columns),
        boxes,
        DenseHead(whole, (rows,), RelativeCodec(), None, post, scoring),
        quality,
    )


def plain_cost(rule: HungarianRule, predictions: DensePredictions, image: int, box, label: int, row: int) -> float:
    """What it costs to give one object to one row, number by number."""
    scoring, logits = predictions.head.scoring, predictions.logits[image, row].double().tolist()
    if scoring.activation == "softmax":
        score = math.exp(logits[label]) / sum(math.exp(value) for value in logits)
    else:
        score = 1 / (1 + math.exp(-logits[label]))
    if predictions.quality_logits is not None:
        quality = 1 / (1 + math.exp(-predictions.quality_logits[image, row].item()))
        score = score**scoring.class_power * quality**scoring.quality_power
    if scoring.activation == "softmax":
        cost = -rule.class_cost * score
    else:
        wanted = -0.25 * (1 - score) ** 2 * math.log(score)
        cost = rule.focal_cost * (wanted + 0.75 * score**2 * math.log(1 - score))
    a, b = box, predictions.boxes()[image, row].double().tolist()
    height, width = SIZE
    units = (width, height)
    for axis in range(2):
        cost += rule.l1_cost * abs((a[axis] + a[axis + 2]) / 2 - (b[axis] + b[axis + 2]) / 2) / units[axis]
        cost += rule.l1_cost * abs((a[axis + 2] - a[axis]) - (b[axis + 2] - b[axis])) / units[axis]
    overlap = [max(0.0, min(a[k + 2], b[k + 2]) - max(a[k], b[k])) for k in range(2)]
    around = [max(a[k + 2], b[k + 2]) - min(a[k], b[k]) for k in range(2)]
    areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
    shared, enclosing = overlap[0] * overlap[1], around[0] * around[1]
    union = sum(areas) - shared
    return cost - rule.giou_cost * (shared / union - (enclosing - union) / enclosing)


@pytest.mark.parametrize("kind", ["softmax", "sigmoid", "quality", "objectness"])
@pytest.mark.parametrize("seed", range(3))
def test_matching_is_the_cheapest_of_all(kind: str, seed: int):
    rule, layout = HungarianRule(), random_layout(4, seed)
    predictions = random_predictions(kind, 1, seed, rows=7)
    table = [
        [plain_cost(rule, predictions, 0, box, label, row) for row in range(7)]
        for box, label in zip(layout.boxes.tolist(), layout.labels.tolist(), strict=True)
    ]
    best = min(itertools.permutations(range(7), 4), key=lambda rows: sum(table[j][row] for j, row in enumerate(rows)))
    targets = rule.match([predictions], LayoutBatch.collate([layout]), [None])[0]
    assert targets.positive_rows[0].tolist() == list(best)


@pytest.mark.parametrize("objects", [1, 2, 7, 20])
def test_cheapest_rows_are_those_of_the_whole_table(objects: int):
    """Although only as many rows as objects are looked at for each; also with equal costs."""
    generator = torch.Generator().manual_seed(objects)
    for trial in range(20):
        cost = torch.rand(2, objects, 50, generator=generator)
        if trial % 2:
            cost = (4 * cost).round()
        valid = torch.rand(2, objects, generator=generator) < 0.7
        (found,) = cheapest_rows([cost], valid)
        for image in range(2):
            rows, table = found[image][valid[image]], cost[image][valid[image]]
            assert len(set(rows.tolist())) == len(rows)
            best = table.numpy()[linear_sum_assignment(table.numpy())].sum()
            assert table.gather(1, rows[:, None]).sum().item() == pytest.approx(float(best), abs=1e-5)


def test_as_many_objects_as_rows():
    layout, predictions = random_layout(12, 1), random_predictions("sigmoid", 1, 2, rows=12)
    targets = HungarianRule().match([predictions], LayoutBatch.collate([layout]), [None])[0]
    assert sorted(targets.positive_rows[0].tolist()) == list(range(12))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(6))
def test_f_of_the_targets_is_the_layout(kind: str, seed: int):
    layouts = [random_layout(objects, seed + 10 * objects) for objects in (0, 1, 5, 9)]
    if kind == "grid":  # a cell reaches what contains its centre
        layouts = [layout.select((layout.boxes[:, 2:] - layout.boxes[:, :2] > 16).all(1)) for layout in layouts]
    predictions = random_predictions(kind, len(layouts), seed)
    assert all(len(found) > 5 for found in postprocess(Predictions(predictions), [SIZE] * len(layouts)))
    targets = HungarianRule(score_thresh=0.5).match([predictions], LayoutBatch.collate(layouts), [None])[0]
    wished = substitute(Predictions(predictions), Targets(dense=targets))
    for found, layout in zip(postprocess(wished, [SIZE] * len(layouts)), layouts, strict=True):
        assert len(found) == len(layout)
        got = sorted((int(label), *box) for label, box in zip(found.labels, found.boxes.tolist(), strict=True))
        wanted = sorted((int(label), *box) for label, box in zip(layout.labels, layout.boxes.tolist(), strict=True))
        torch.testing.assert_close(torch.tensor(got), torch.tensor(wanted), atol=1e-3, rtol=0)


def test_as_little_as_possible_is_changed():
    layouts = LayoutBatch.collate([random_layout(4, 0)])
    for kind in ("softmax", "sigmoid", "grid"):
        predictions = random_predictions(kind, 1, 0)
        targets = HungarianRule().match([predictions], layouts, [None])[0]
        rows = targets.rows[0]
        mine = targets.box_weights[0] > 0
        assert sorted(rows[mine].tolist()) == sorted(targets.positive_rows[0].tolist())
        pushed = targets.class_weights[0][~mine] > 0
        assert pushed.any()
        torch.testing.assert_close(pushed, predictions.scores()[0][rows[~mine]] > 0.5)


def test_rows_take_part_as_f_would_rank_them():
    """Fewer rows than the head has: those of objects, then those of highest score."""
    predictions, layouts = random_predictions("grid", 1, 3), LayoutBatch.collate([random_layout(3, 0)])
    targets = HungarianRule(topk=20).match([predictions], layouts, [None])[0]
    rows = targets.rows[0].tolist()
    assert len(rows) == len(set(rows)) == 40
    assert set(targets.positive_rows[0].tolist()) <= set(rows)
    best = predictions.scores()[0].amax(-1)
    left_out = [row for row in range(192) if row not in rows]
    free = [row for row in rows if row < 192 and row not in targets.positive_rows[0].tolist()]
    assert best[free].min() >= best[left_out].max()


def test_rows_out_of_reach_are_not_taken():
    predictions, layout = random_predictions("grid", 1, 4), random_layout(6, 4)
    batch = LayoutBatch.collate([layout])
    reachable = predictions.head.codec.expresses(batch.boxes, predictions.head.anchors)
    assert reachable.any(-1).all()
    assert not reachable.all()
    rows = HungarianRule().match([predictions], batch, [None])[0].positive_rows
    assert reachable.gather(2, rows[..., None]).all()


def with_noise(predictions: DensePredictions, size: float, seed: int) -> DensePredictions:
    generator = torch.Generator().manual_seed(seed)
    return replace(
        predictions,
        logits=predictions.logits + size * torch.randn(predictions.logits.shape, generator=generator),
        deltas=predictions.deltas + 0.1 * size * torch.randn(predictions.deltas.shape, generator=generator),
    )


def changes(rule: HungarianRule, predictions: DensePredictions, batch: LayoutBatch, size: float) -> int:
    """How many objects change their row over ten steps of noise."""
    previous, count = rule.match([predictions], batch, [None])[0], 0
    for step in range(10):
        current = rule.match([with_noise(predictions, size, step)], batch, [previous])[0]
        count += int((current.positive_rows != previous.positive_rows).sum())
        previous = current
    return count


def crowd(kind: str) -> tuple[DensePredictions, LayoutBatch]:
    """Two rows of nearly the same worth for each of six objects."""
    batch = LayoutBatch.collate([random_layout(6, 5)])
    predictions = random_predictions(kind, 1, 5, rows=30)
    code = predictions.head.codec.encode(batch.boxes, predictions.head.anchors[:6].expand_as(batch.boxes))
    deltas, logits = predictions.deltas.clone(), predictions.logits.clone()
    deltas[:, :6], deltas[:, 6:12], logits[:, 6:12] = code + 0.002, code - 0.002, logits[:, :6]
    return replace(predictions, deltas=deltas, logits=logits), batch


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_small_noise_does_not_make_matches_flap(kind: str):
    predictions, batch = crowd(kind)
    assert changes(HungarianRule(sticky=0.0), predictions, batch, size=0.015) > 5
    assert changes(HungarianRule(sticky=0.2), predictions, batch, size=0.015) == 0


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_a_large_change_does_switch(kind: str):
    predictions, batch = crowd(kind)
    first = HungarianRule().match([predictions], batch, [None])[0]
    row = int(first.positive_rows[0, 0])
    deltas = predictions.deltas.clone()
    deltas[:, row] = torch.tensor([0.9, 0.9, 0.05, 0.05])
    second = HungarianRule().match([replace(predictions, deltas=deltas)], batch, [first])[0]
    assert int(second.positive_rows[0, 0]) != row
    assert second.positive_rows[0, 1:].tolist() == first.positive_rows[0, 1:].tolist()


def test_matches_follow_queries_that_change_places():
    """Queries chosen anew in every pass are known by their token, not by their row."""
    predictions, batch = crowd("sigmoid")
    tokens = torch.arange(100, 130)[None]
    first = HungarianRule().match([replace(predictions, identities=tokens)], batch, [None])[0]
    assert first.positive_identities.tolist() == (first.positive_rows + 100).tolist()
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    noisy = with_noise(predictions, 0.015, 1)
    shuffled = replace(noisy, logits=noisy.logits[:, order], deltas=noisy.deltas[:, order], identities=tokens[:, order])
    second = HungarianRule().match([shuffled], batch, [first])[0]
    assert second.positive_identities.tolist() == first.positive_identities.tolist()
    assert second.positive_rows.tolist() != first.positive_rows.tolist()
    assert tokens[0, order][second.positive_rows[0]].tolist() == second.positive_identities[0].tolist()


def test_targets_of_another_batch_are_no_precedent():
    predictions, batch = random_predictions("sigmoid", 2, 6), LayoutBatch.collate([random_layout(3, 6)] * 2)
    rule = HungarianRule(sticky=100.0)
    alone = rule.match([predictions], batch, [None])[0].positive_rows
    other = rule.match([random_predictions("sigmoid", 1, 7)], LayoutBatch.collate([random_layout(2, 7)]), [None])[0]
    torch.testing.assert_close(rule.match([predictions], batch, [other])[0].positive_rows, alone)


def test_a_slot_that_held_nothing_sticks_to_nothing():
    predictions = random_predictions("sigmoid", 1, 8)
    rule, layout = HungarianRule(sticky=100.0), random_layout(2, 8)
    empty = rule.match([predictions], LayoutBatch.collate([random_layout(0, 0)], slots=2), [None])[0]
    batch = LayoutBatch.collate([layout])
    torch.testing.assert_close(
        rule.match([predictions], batch, [empty])[0].positive_rows,
        rule.match([predictions], batch, [None])[0].positive_rows,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_order_of_objects_padding_and_batch_change_nothing(kind: str):
    layouts = [random_layout(objects, 9 + objects) for objects in (3, 0, 6)]
    predictions, rule = random_predictions(kind, 3, 9), HungarianRule()
    together = rule.match([predictions], LayoutBatch.collate(layouts, slots=8), [None])[0]
    for image, layout in enumerate(layouts):
        quality = None if predictions.quality_logits is None else predictions.quality_logits[image : image + 1]
        single = replace(
            predictions,
            logits=predictions.logits[image : image + 1],
            deltas=predictions.deltas[image : image + 1],
            quality_logits=quality,
        )
        turned = replace(layout, boxes=layout.boxes.flip(0), labels=layout.labels.flip(0))
        alone = rule.match([single], LayoutBatch.collate([turned]), [None])[0]
        count = len(layout)
        assert together.positive_rows[image, :count].flip(0).tolist() == alone.positive_rows[0, :count].tolist()
        for name in ("rows", "class_targets", "class_weights", "box_weights", "quality_targets", "quality_weights"):
            value = getattr(together, name)
            assert (value is None) == (getattr(alone, name) is None) == (name.startswith("quality") and quality is None)
            if value is not None:
                torch.testing.assert_close(value[image], getattr(alone, name)[0], atol=0, rtol=0)
        shown = alone.box_weights[0] > 0
        torch.testing.assert_close(together.box_targets[image][shown], alone.box_targets[0][shown], atol=0, rtol=0)


def test_objectness_pushes_strays_down_and_leaves_their_class():
    predictions, batch = random_predictions("objectness", 1, 10), LayoutBatch.collate([random_layout(3, 10)])
    targets = HungarianRule().match([predictions], batch, [None])[0]
    mine = targets.box_weights[0] > 0
    stray = (targets.quality_weights[0] > 0) & ~mine
    assert stray.any()
    assert (targets.quality_targets[0] == mine).all()
    assert (targets.class_weights[0][~mine] == 0).all()
    assert (predictions.scores()[0][targets.rows[0][stray]].amax(-1) > 0.5).all()


def test_what_is_not_finite_is_no_row_for_anybody():
    predictions, batch = random_predictions("sigmoid", 1, 11), LayoutBatch.collate([random_layout(3, 11)])
    best = HungarianRule().match([predictions], batch, [None])[0].positive_rows[0]
    deltas = predictions.deltas.clone()
    deltas[0, best[0]], deltas[0, best[1]] = torch.nan, torch.inf
    again = HungarianRule().match([replace(predictions, deltas=deltas)], batch, [None])[0].positive_rows[0]
    assert not {int(best[0]), int(best[1])} & set(again.tolist())
