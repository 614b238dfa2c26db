"""Insertion and deletion: against one image at a time, and on a detector whose evidence is known."""

import math
from dataclasses import replace

import pytest
import torch

from detinv.attribution.core.forward import canvas_of
from detinv.attribution.core.measures import inside_box
from detinv.attribution.core.raw_outputs import raw_outputs
from detinv.attribution.metrics.perturbation import Perturbation, curves_of
from detinv.attribution.metrics.pixel_order import pixel_ranks
from detinv.attribution.metrics.preset import load_preset, preset_names
from detinv.detectors.heads.postprocess import postprocess
from tests.attribution.hand_set import EVIDENCE, SIDE, HandSetDetector
from tests.fakes import block_image, tiny_detector

BOXES = torch.tensor([[4.0, 6.0, 40.0, 50.0], [20.0, 8.0, 60.0, 30.0]])
LABELS = torch.tensor([0, 2])


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def overlap(first, second):
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    both = max(width, 0) * max(height, 0)
    areas = [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (first, second)]
    return both / (sum(areas) - both)


def rows_of(detector, version, label):
    """Boxes of a class, inside the image, and scores with the background's, row by row."""
    raw = raw_outputs(detector(version[None], [(64, 64)]))
    vectors = torch.cat([raw.scores[0], raw.background[0, :, None]], 1)
    return list(zip(raw.boxes_of(label[None])[0].clamp(0, 64).tolist(), vectors.tolist(), strict=True))


def found_again(kind, rows, box, label, classes):
    """The best row's likeness, in Python's own numbers."""
    best = 0.0
    for mine, vector in rows:
        iou = overlap(mine, box)
        if kind == "score_above_half":
            value = vector[label] * (iou > 0.5)
        elif kind == "iou_score":
            value = vector[label] * iou
        else:
            value = iou * sum(a * b for a, b in zip(vector, classes, strict=True)) / math.hypot(*vector)
            value /= math.hypot(*classes)
        best = max(best, value)
    return best


@pytest.mark.parametrize(
    ("family", "kind"),
    [("fcos", "iou_score"), ("fasterrcnn", "iou_cosine"), ("retinanet", "score_above_half")],
)
def test_curves_equal_one_image_at_a_time(family, kind):
    detector, image = tiny_detector(family), block_image((64, 64))
    options = {"within": "box", "spacing": "squared"} if kind == "iou_score" else {}
    settings = Perturbation(steps=2, deleted="black", likeness=kind, batch_size=5, **options)
    heats = noise(2, 1, 64, 64)
    found = curves_of(settings, detector, image, BOXES, LABELS, heats)
    pixels = canvas_of(detector, image)[0][0]
    for obj, (box, label) in enumerate(zip(BOXES.tolist(), LABELS, strict=True)):
        _, classes = max(rows_of(detector, pixels, label), key=lambda row: overlap(row[0], box) * row[1][label])
        order = heats[obj, 0].flatten().argsort(descending=True)
        area = (box[2] - box[0]) * (box[3] - box[1]) if options else 64 * 64
        for point in range(3):
            share = (point / 2) ** 2 if options else point / 2
            first = torch.zeros(64 * 64, dtype=torch.bool)
            first[order[: round(share * area)]] = True
            first = first.view(64, 64)
            inserted = pixels.where(first, detector.pixel_mean[:, None, None])
            deleted = pixels.where(~first, torch.zeros(3, 1, 1))
            for curve, version in ((found.insertion, inserted), (found.deletion, deleted)):
                expected = found_again(kind, rows_of(detector, version, label), box, label, classes)
                assert float(curve[obj, 0, point]) == pytest.approx(expected, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("name", preset_names())
def test_the_evidence_scores_best_and_its_opposite_worst(name):
    detector = HandSetDetector()
    image = torch.randint(150, 256, (3, SIDE, SIDE), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    evidence = sum(inside_box(box, (SIDE, SIDE)).float() for what, box in EVIDENCE.items() if what != "other class")
    heats = torch.stack([evidence, torch.ones(SIDE, SIDE), -evidence])[None]
    settings = load_preset(name).perturbation
    seen = detector.detect([image])[0]
    seen = seen.select(seen.labels == 0)
    found = curves_of(settings, detector, image, seen.boxes, seen.labels, heats)
    best, uniform, worst = settings.area(found.insertion)[0].tolist()
    assert best > uniform > worst
    best, uniform, worst = settings.area(found.deletion)[0].tolist()
    assert best < uniform < worst


def test_curves_begin_and_end_with_the_image_and_without_it():
    detector, image = tiny_detector("fcos"), block_image((64, 64))
    settings = replace(load_preset("default").perturbation, steps=2)
    found = curves_of(settings, detector, image, BOXES, LABELS, noise(2, 3, 64, 64))
    before = found.before[:, None].expand(-1, 3)
    torch.testing.assert_close(found.insertion[..., -1], before)
    torch.testing.assert_close(found.deletion[..., 0], before)
    torch.testing.assert_close(found.insertion[..., 0], found.deletion[..., -1])


def test_a_detection_is_found_with_its_score():
    """What is looked for in the raw outputs is what inference reports."""
    detector, image = tiny_detector("fasterrcnn"), block_image((64, 64))
    pixels, _, size = canvas_of(detector, image)
    (reported,) = postprocess(detector(pixels, [size]), [size])
    found = curves_of(
        Perturbation(steps=1), detector, image, reported.boxes[:6], reported.labels[:6], noise(6, 1, 64, 64)
    )
    torch.testing.assert_close(found.before, reported.scores[:6], rtol=1e-4, atol=1e-4)


def test_equal_values_have_no_preferred_side():
    inside = torch.ones(32, 48, dtype=torch.bool)
    inside[:, 40:] = False
    places = []
    for seed in range(20):
        nearly = 1 + 1e-7 * noise(32, 48, seed=seed).round()
        ranks = pixel_ranks(nearly, inside, seed)
        assert torch.equal(ranks, pixel_ranks(torch.zeros(32, 48), inside, seed))
        assert sorted(ranks[inside].tolist()) == list(range(32 * 40))
        assert bool((ranks[:, 40:] == -1).all())
        places.append(float(ranks[:16, :40].float().mean()) / (32 * 40))
    assert abs(sum(places) / len(places) - 0.5) < 0.05
    heat = noise(32, 48).mul(64).round()
    assert torch.equal(
        heat[inside].sort(descending=True).values, heat[inside][pixel_ranks(heat, inside, 0)[inside].argsort()]
    )
