"""Measures of where a map lies, against loops over pixels, and on maps whose rank is known."""

import math
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detinv.attribution.metrics.base import Truth
from detinv.attribution.metrics.preset import load_preset

HEIGHT, WIDTH = 12, 16
BOX = (3.0, 2.0, 11.0, 8.0)
OTHERS = torch.tensor([[9.0, 1.0, 15.0, 6.0], [0.0, 9.0, 4.0, 12.0]])
MASK = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
MASK[3:7, 4:9] = True
TRUTH = Truth(BOX, OTHERS, MASK)
NAMES = (
    "pointing_box",
    "pointing_mask",
    "energy_box",
    "energy_mask",
    "compactness",
    "explanation_accuracy",
    "discrimination",
    "published",
)


@cache
def locations():
    published = load_preset("odam2023").locations["discrimination"]
    return {**load_preset("default").locations, "published": published}


def in_box(box, x, y):
    return box[0] <= x + 0.5 <= box[2] and box[1] <= y + 0.5 <= box[3]


def reference(name, heat):
    """The measure, pixel by pixel, in Python's own numbers."""
    pixels = [(x, y) for y in range(HEIGHT) for x in range(WIDTH)]
    value = {(x, y): float(heat[y, x]) for x, y in pixels}
    positive = {one: max(v, 0.0) for one, v in value.items()}
    own = {one for one in pixels if in_box(BOX, *one)}
    masked = {(x, y) for x, y in pixels if MASK[y, x]}
    elsewhere = {one for one in pixels if any(in_box(box, *one) for box in OTHERS.tolist())}
    highest = max(value.values())
    best = [one for one in pixels if value[one] == highest]
    total = sum(positive.values())
    if name.startswith("pointing"):
        return sum(one in (own if name.endswith("box") else masked) for one in best) / len(best)
    if name.startswith("energy"):
        return sum(positive[one] for one in (own if name.endswith("box") else masked)) / total
    if name == "compactness":
        x, y = best[0]
        spread = sum(positive[u, v] * ((u - x) ** 2 + (v - y) ** 2) for u, v in pixels) / total
        return math.sqrt(spread / (((BOX[2] - BOX[0]) ** 2 + (BOX[3] - BOX[1]) ** 2) / 4))
    if name == "explanation_accuracy":
        ious = []
        for tenth in range(1, 10):
            found = {one for one in pixels if value[one] > heat.max() * heat.new_tensor(tenth / 10)}
            ious.append(len(found & masked) / len(found | masked))
        return sum(ious) / len(ious)
    others = elsewhere if name == "published" else elsewhere - own
    return sum(positive[one] for one in others) / sum(positive[one] for one in own | elsewhere)


def test_all_measures_are_tested():
    assert set(NAMES) == set(locations())


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=8)
@given(seed=st.integers(0, 1000), signed=st.booleans())
def test_a_measure_equals_a_loop_over_pixels(name, seed, signed):
    heat = torch.rand(HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed))
    if signed:
        heat = (heat - 0.3).mul(8).round() / 8
    assert locations()[name].measure(heat, TRUTH) == pytest.approx(reference(name, heat), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_a_perfect_map_is_best_and_an_inverted_one_worst(name):
    perfect = MASK.float()
    perfect[5, 6] += 0.001
    uniform, inverted = torch.ones(HEIGHT, WIDTH), 1 - perfect.clamp(max=1)
    best, middle, worst = (locations()[name].measure(heat, TRUTH) for heat in (perfect, uniform, inverted))
    if locations()[name].higher_is_better:
        assert best > middle >= worst
    else:
        assert best < middle <= worst


def test_a_uniform_map_is_at_chance():
    uniform = torch.full((HEIGHT, WIDTH), 0.5)
    for region, area in (("box", 48), ("mask", 20)):
        for name in ("pointing", "energy"):
            share = locations()[f"{name}_{region}"].measure(uniform, TRUTH)
            assert share == pytest.approx(area / (HEIGHT * WIDTH))


def test_what_is_not_known_is_not_a_number():
    heat = torch.rand(HEIGHT, WIDTH)
    alone = Truth(BOX, OTHERS[:0])
    assert math.isnan(locations()["pointing_mask"].measure(heat, alone))
    assert math.isnan(locations()["discrimination"].measure(heat, alone))
    assert locations()["published"].measure(heat, alone) == 0
    for name in ("energy_box", "compactness", "explanation_accuracy", "discrimination"):
        assert math.isnan(locations()[name].measure(torch.zeros(HEIGHT, WIDTH), TRUTH))
