"""Terms of queries and of heads that regress distributions, against plain loops: values and gradients."""

import math
from dataclasses import replace

import pytest
import torch

from detinv.detectors.heads.codec import DistanceCodec
from detinv.detectors.heads.predictions import DenseHead, DensePredictions, PostProcessing, Predictions
from detinv.detectors.heads.scoring import Scoring
from detinv.detectors.transformers.codec import RelativeCodec
from detinv.inversion.objective.losses import dense_terms
from detinv.inversion.objective.objective import Objective
from detinv.inversion.targets.base import Targets
from detinv.inversion.targets.matching import HungarianRule
from detinv.layouts.batch import LayoutBatch
from detinv.layouts.layout import Layout

SIZE, CLASSES, BINS = (64, 96), 3, 6
LEVEL_WEIGHTS = (0.5, 2.0)
KINDS = ("softmax", "sigmoid", "quality", "objectness", "no background", "bins")


def layouts() -> list[Layout]:
    boxes = torch.tensor([[4.0, 6, 40, 44], [30, 20, 90, 60], [50, 2, 70, 30]])
    return [
        Layout(boxes, torch.tensor([0, 2, 1]), SIZE, "three"),
        Layout(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), SIZE, "none"),
        Layout(boxes[1:2], torch.tensor([1]), SIZE, "one"),
    ]


def collated() -> LayoutBatch:
    batch = LayoutBatch.collate(layouts())
    return replace(batch, boxes=batch.boxes.double())


def predictions_of(kind: str, images: int = 3, seed: int = 0) -> DensePredictions:
    """Two levels of rows with confident random scores, in double precision; leaves ask for a gradient."""
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    scoring = {
        "softmax": Scoring("softmax", background=True),
        "quality": Scoring(class_power=0.5, quality_power=0.5),
        "objectness": Scoring(quality_power=1.0, objectness=True),
        "no background": Scoring("softmax", quality_power=1.0, objectness=True),
    }.get(kind, Scoring())
    post = PostProcessing(0.5, None, 50, 50, topk_per="image")
    logits = (2 * noise(images, 20, CLASSES + int(scoring.background))).requires_grad_()
    quality = (2 * noise(images, 20)).requires_grad_() if scoring.quality_power else None
    if kind == "bins":
        corner = 80 * torch.rand(20, 2, generator=generator, dtype=torch.float64)
        head = DenseHead(torch.cat([corner, corner + 16], 1), (15, 5), DistanceCodec(), None, post)
        bins = noise(images, 20, 4, BINS).requires_grad_()
        deltas = (bins.softmax(-1) * torch.arange(BINS)).sum(-1)
        return DensePredictions(logits, deltas, head, bins=bins)
    whole = torch.tensor([0.0, 0, SIZE[1], SIZE[0]], dtype=torch.float64).expand(20, 4)
    head = DenseHead(whole, (15, 5), RelativeCodec(), None, post, scoring)
    return DensePredictions(logits, noise(images, 20, 4).sigmoid().requires_grad_(), head, quality)


def leaves(predictions: DensePredictions) -> list[torch.Tensor]:
    return [
        value
        for value in (predictions.logits, predictions.bins, predictions.deltas, predictions.quality_logits)
        if value is not None and value.is_leaf
    ]


def log_softmax(row: torch.Tensor) -> list[torch.Tensor]:
    total = sum(torch.exp(value) for value in row)
    return [value - torch.log(total) for value in row]


def giou(a, b):
    zero = torch.zeros((), dtype=torch.float64)
    w = torch.maximum(torch.minimum(a[2], b[2]) - torch.maximum(a[0], b[0]), zero)
    h = torch.maximum(torch.minimum(a[3], b[3]) - torch.maximum(a[1], b[1]), zero)
    around = (torch.maximum(a[2], b[2]) - torch.minimum(a[0], b[0])) * (
        torch.maximum(a[3], b[3]) - torch.minimum(a[1], b[1])
    )
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h
    return w * h / union - (around - union) / around


def class_loss(p: DensePredictions, row: torch.Tensor, label: int | None, stray: list[bool]) -> torch.Tensor | None:
    """Of one row; None where it is not compared."""
    if label is None and not any(stray):
        return None
    if p.head.scoring.activation == "softmax":
        wanted = CLASSES if label is None else label
        if wanted == CLASSES and not p.head.scoring.background:
            return torch.zeros((), dtype=torch.float64)
        return -log_softmax(row)[wanted]
    loss = torch.zeros((), dtype=torch.float64)
    for k, logit in enumerate(row):
        if label is None and not stray[k]:
            continue
        q = torch.sigmoid(logit)
        pt, alpha = (q, 0.25) if k == label else (1 - q, 0.75)
        loss = loss - alpha * (1 - pt) ** 2 * torch.log(pt)
    return loss


def bin_loss(bins: torch.Tensor, distance: float) -> torch.Tensor:
    distance = min(max(distance, 0.0), BINS - 1 - 0.01)
    low = math.floor(distance)
    logs = log_softmax(bins)
    return -((low + 1 - distance) * logs[low] + (distance - low) * logs[low + 1])


def reference(p: DensePredictions, image: int, layout: Layout, matched: dict[int, int]) -> dict[str, torch.Tensor]:
    """All terms of one image, row by row; `matched` is the object of each row that has one."""
    level = p.head.levels.tolist()
    scores, boxes = p.scores()[image].detach(), p.boxes()[image].double()
    objectness = p.head.scoring.objectness
    cls, reg, code, quality = [], [], [], []
    zero = torch.zeros((), dtype=torch.float64)
    positive = zero
    for a in range(20):
        weight, owner = LEVEL_WEIGHTS[level[a]], matched.get(a)
        survives = (scores[a] > 0.5).tolist()
        stray = [False] * CLASSES if objectness else survives
        label = None if owner is None else int(layout.labels[owner])
        loss = class_loss(p, p.logits[image, a], label, stray)
        if loss is not None:
            cls.append(weight * loss)
        if p.quality_logits is not None and (owner is not None or (objectness and any(survives))):
            q = torch.sigmoid(p.quality_logits[image, a])
            quality.append(-weight * torch.log(q if owner is not None else 1 - q))
        if owner is None:
            continue
        box = layout.boxes[owner].double()
        reg.append(weight * (1 - giou(boxes[a], box)))
        positive = positive - weight * p.logits[image, a, label] / 100
        if p.bins is None:
            cx, cy, w, h = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box[2] - box[0], box[3] - box[1]
            wanted = (cx / SIZE[1], cy / SIZE[0], w / SIZE[1], h / SIZE[0])
            code.append(weight * sum(abs(p.deltas[image, a, k] - wanted[k]) for k in range(4)))
        else:
            x, y = ((p.head.anchors[a, k] + p.head.anchors[a, k + 2]) / 2 for k in (0, 1))
            distances = [(x - box[0]) / 16, (y - box[1]) / 16, (box[2] - x) / 16, (box[3] - y) / 16]
            losses = [bin_loss(p.bins[image, a, side], float(distances[side])) for side in range(4)]
            code.append(weight * sum(losses) / 4)
    terms = {
        "cls": sum(cls, zero) / max(len(cls), 1),
        "reg": sum(reg, zero) / max(len(reg), 1),
        "positive": positive,
        "l1" if p.bins is None else "dfl": sum(code, zero) / max(len(code), 1),
    }
    if p.quality_logits is not None:
        terms["objectness" if objectness else "centerness"] = sum(quality, zero) / max(len(quality), 1)
    return terms


def matches(targets, image: int, layout: Layout) -> dict[int, int]:
    return {row: slot for slot, row in enumerate(targets.positive_rows[image].tolist()[: len(layout)])}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_terms_and_gradients_equal_the_slow_loop(kind: str, seed: int):
    p, batch = predictions_of(kind, seed=seed), collated()
    targets = HungarianRule().match([p.detach()], batch, [None])[0]
    terms = dense_terms(p, targets, torch.tensor(LEVEL_WEIGHTS, dtype=torch.float64))
    slow = [reference(p, image, layout, matches(targets, image, layout)) for image, layout in enumerate(layouts())]
    for image, expected in enumerate(slow):
        assert set(expected) == set(terms)
        for name, value in expected.items():
            close = {"atol": 1e-5, "rtol": 1e-5, "msg": lambda text, name=name: f"{name}: {text}"}
            torch.testing.assert_close(terms[name][image], value, **close)
    assert all(value[1] == 0 for name, value in terms.items() if name not in ("cls", "objectness"))
    for name in terms:
        ours = torch.autograd.grad(terms[name].sum(), leaves(p), retain_graph=True, allow_unused=True)
        wanted = torch.autograd.grad(
            sum(expected[name] for expected in slow), leaves(p), retain_graph=True, allow_unused=True
        )
        for got, want in zip(ours, wanted, strict=True):
            # Where nothing is compared, a plain loop does not touch a leaf at all.
            zero = torch.zeros(()) if got is None and want is None else torch.zeros_like(want if got is None else got)
            got, want = (zero if value is None else value for value in (got, want))
            torch.testing.assert_close(got, want, atol=1e-6, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("kind", KINDS)
def test_rows_without_target_get_no_gradient(kind: str):
    p = predictions_of(kind)
    targets = HungarianRule(score_thresh=0.8).match([p.detach()], collated(), [None])[0]
    terms = dense_terms(p, targets, torch.ones(2, dtype=torch.float64))
    gradients = torch.autograd.grad(sum(value.sum() for value in terms.values()), leaves(p))
    compared = (targets.class_weights.amax(-1) > 0) | (targets.box_weights > 0)
    if targets.quality_weights is not None:
        compared |= targets.quality_weights > 0
    free = torch.ones(3, 20, dtype=torch.bool).scatter(1, targets.rows, ~compared)
    assert 5 < free.sum() < 60
    assert all(not gradient[free].any() for gradient in gradients)
    assert all(gradient[~free].any() for gradient in gradients)


def test_encoder_terms_are_those_of_a_dense_head_under_names_of_their_own():
    queries, tokens, batch = predictions_of("sigmoid"), predictions_of("sigmoid", seed=5), collated()
    rule = HungarianRule()
    targets = Targets(*rule.match([queries.detach(), tokens.detach()], batch, [None, None]))
    names = ("cls", "reg", "l1", "positive")
    weights = {name: 1.0 for name in names} | {f"encoder_{name}": 1.0 for name in names}
    objective = Objective(weights, LEVEL_WEIGHTS)
    found = objective.detector_terms(Predictions(queries, encoder=tokens), targets)
    levels = torch.tensor(LEVEL_WEIGHTS)
    expected = dense_terms(queries, targets.dense, levels)
    expected |= {f"encoder_{name}": value for name, value in dense_terms(tokens, targets.encoder, levels).items()}
    assert set(found) == set(expected) == set(weights)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)
    (gradient,) = torch.autograd.grad(objective.total(found).sum(), tokens.logits)
    (alone,) = torch.autograd.grad(sum(expected[f"encoder_{name}"].sum() for name in names), tokens.logits)
    torch.testing.assert_close(gradient, alone)


def test_encoder_terms_without_weight_are_left_out():
    queries, tokens, batch = predictions_of("sigmoid"), predictions_of("sigmoid", seed=5), collated()
    rule = HungarianRule()
    targets = Targets(*rule.match([queries.detach(), tokens.detach()], batch, [None, None]))
    found = Objective({"cls": 1.0, "encoder_l1": 2.0}).detector_terms(Predictions(queries, encoder=tokens), targets)
    assert set(found) == {"cls", "encoder_l1"}


@pytest.mark.parametrize("distance", [-1.0, 0.0, 0.3, 2.0, 4.5, 4.995, 5.0, 9.0])
def test_distances_beyond_the_bins_are_those_of_the_last(distance: float):
    """A target below zero wants the first bin; one beyond the last wants, all but entirely, the last."""
    p = predictions_of("bins", images=1)
    centre = (p.head.anchors[3, :2] + p.head.anchors[3, 2:]) / 2
    box = torch.cat([centre - 16 * distance, centre + 16 * 1.5])
    targets = HungarianRule().match([p.detach()], collated_one(), [None])[0]
    targets = replace(
        targets,
        box_targets=box.expand(1, 20, 4),
        box_weights=(targets.rows == 3).double(),
    )
    terms = dense_terms(p, targets, torch.ones(2, dtype=torch.float64))
    sides = (distance, distance, 1.5, 1.5)
    expected = sum(bin_loss(p.bins[0, 3, side], value) for side, value in enumerate(sides)) / 4
    torch.testing.assert_close(terms["dfl"][0], expected, atol=1e-6, rtol=1e-6)
    assert terms["dfl"].isfinite().all()


def collated_one() -> LayoutBatch:
    batch = LayoutBatch.collate(layouts()[:1])
    return replace(batch, boxes=batch.boxes.double())
