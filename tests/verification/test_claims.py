"""Each claim holds for numbers that bear it out, and fails for numbers that do not."""

import pytest
import torch

from detinv.metrics.intervals import Interval
from detinv.verification import context, cues, disentangle, single_object, texture, transfer
from detinv.verification.claim import percent, shown
from detinv.worlds.context import ContextWorld
from detinv.worlds.part import PartWorld


def test_an_interval_is_told_with_its_ends():
    assert shown(Interval(0.5, 0.25, 0.75)) == "0.50 [0.25, 0.75]"
    assert percent(Interval(0.5, 0.25, 0.754)) == "50 % [25, 75]"


@pytest.mark.parametrize(("other", "holds"), [(80.0, True), (99.0, False), (99.5, False)])
def test_diagonal_must_be_the_maximum_of_every_row(other, holds):
    matrix = {"a": {"a": 99.0, "b": other}, "b": {"a": 50.0, "b": 99.9}, "noise": {"a": 0.0, "b": 99.0}}
    claim = transfer.diagonal(matrix, ["a", "b"])
    assert claim.holds is holds
    assert "(a)" in claim.measured or holds


@pytest.mark.parametrize(("worst", "holds"), [(0.0, True), (1.0, True), (1.1, False)])
def test_noise_must_show_nothing_to_anyone(worst, holds):
    assert transfer.noise({"a": 0.0, "b": worst}).holds is holds


@pytest.mark.parametrize(("found", "holds"), [(88.0, True), (83.1, True), (82.9, False), (93.1, False)])
def test_real_images_must_be_read_as_always(found, holds):
    claim = transfer.real({"a": 90.0, "b": found}, {"a": 90.0, "b": 88.0})
    assert claim.holds is holds


def change(low, high):
    return {"change_of_p": [(low + high) / 2, low, high], "objects": 9}


@pytest.mark.parametrize(("ends", "falls", "stays"), [
    ((-0.8, -0.5), True, False),
    ((-0.5, -0.2), False, False),
    ((-0.05, 0.02), False, True),
    ((-0.15, 0.02), False, False),
    ((0.3, 0.5), False, False),
])  # fmt: skip
def test_change_of_probability_with_its_whole_interval(ends, falls, stays):
    assert texture.falls("a", change(*ends)).holds is falls
    assert texture.stays("a", change(*ends)).holds is stays


@pytest.mark.parametrize(("small", "large", "holds"), [
    ((-0.1, 0.0), (-0.7, -0.5), True),
    ((-0.6, 0.0), (-0.7, -0.5), False),
    ((-0.7, -0.5), (-0.1, 0.0), False),
])  # fmt: skip
def test_drop_must_grow_with_size(small, large, holds):
    by_size = {"20": change(*small), "60": change(*large)}
    assert texture.grows("a", by_size, (20, 60)).holds is holds


@pytest.mark.parametrize(("iou", "holds"), [((-0.1, 0.05), True), ((-0.6, -0.4), False), ((0.4, 0.6), False)])
def test_boxes_must_change_less_than_probabilities(iou, holds):
    overall = change(-0.9, -0.5) | {"change_of_iou": [sum(iou) / 2, *iou]}
    assert texture.boxes_stay("a", overall).holds is holds


@pytest.mark.parametrize(("share", "carried", "absent"), [(0.9, True, False), (0.5, False, False), (0.2, False, True)])
def test_planted_texture_must_be_there_or_not(share, carried, absent):
    agreement = Interval(share, share - 0.1, share + 0.1)
    assert cues.carried("a", agreement).holds is carried
    assert cues.absent("a", agreement).holds is absent


def rate(value):
    return [value, value - 0.1, value + 0.1]


@pytest.mark.parametrize(
    ("cap", "foot", "holds"), [(0.9, 0.1, True), (0.4, 0.1, False), (0.8, 0.9, False), (0.8, 0.8, False)]
)
def test_the_planted_companion_must_be_the_most_frequent(cap, foot, holds):
    rates = {"bulb": rate(1.0), "cap": rate(cap), "foot": rate(foot)}
    assert context.frequent("bulb", ContextWorld.companions["bulb"], rates).holds is holds


@pytest.mark.parametrize(
    ("above", "below", "p", "holds"), [(8, 0, 0.008, True), (5, 0, 0.0625, False), (0, 8, 0.008, False)]
)
def test_the_companion_must_be_on_its_side(above, below, p, holds):
    sides = {"cap": {"above": above, "below": below, "above_p": p}}
    assert context.on_side("bulb", ContextWorld.companions["bulb"], sides).holds is holds


def test_a_companion_that_never_appears_is_on_no_side():
    assert not context.on_side("bulb", ContextWorld.companions["bulb"], {}).holds


@pytest.mark.parametrize(("seen", "holds"), [({"star"}, False), ({"cap"}, True), (set(), True)])
def test_nothing_may_appear_beside_what_stands_alone(seen, holds):
    assert context.alone({"cap": [seen] * 2 + [set()] * 8, "foot": [{"foot"}]}).holds is holds


@pytest.mark.parametrize(("peg", "holds"), [(0.0, True), (0.1, True), (0.2, False)])
def test_a_hoop_must_have_no_peg(peg, holds):
    assert context.without({"hoop": rate(1.0), "peg": rate(peg), "foot": rate(0.5)}).holds is holds


@pytest.mark.parametrize(("driven", "p", "holds"), [("bulb", 0.01, True), ("bulb", 0.2, False), ("cap", 0.01, False)])
def test_asymmetry_must_have_the_planted_direction(driven, p, holds):
    beside = {"bulb": "cap", "cap": "bulb"}[driven]
    pairs = [{"driven": driven, "beside": beside, "rate": 0.9, "reverse": 0.1, "p": p}]
    assert context.asymmetric("bulb", ContextWorld.companions["bulb"], pairs).holds is holds
    assert not context.asymmetric("bulb", ContextWorld.companions["bulb"], []).holds


@pytest.mark.parametrize(("p", "holds"), [(0.5, True), (0.01, False)])
def test_the_control_must_find_no_side(p, holds):
    sides = {"peg": {"left": 3, "right": 9, "left_p": p}}
    assert context.no_side("gear", ContextWorld.companions["gear"], sides).holds is holds
    assert context.no_side("gear", ContextWorld.companions["gear"], {}).holds


def difference(accuracy, iou):
    return {"class_accuracy": [sum(accuracy) / 2, *accuracy], "box_iou": [sum(iou) / 2, *iou]}


@pytest.mark.parametrize(("accuracy", "iou", "holds"), [
    ((0.3, 0.6), (-0.2, -0.1), [True, True]),
    ((-0.1, 0.6), (-0.2, 0.1), [False, False]),
    ((-0.6, -0.3), (0.1, 0.2), [False, False]),
])  # fmt: skip
def test_classes_and_boxes_must_come_apart(accuracy, iou, holds):
    assert [claim.holds for claim in disentangle.apart("a", "b", difference(accuracy, iou))] == holds


@pytest.mark.parametrize(("iou", "blind", "seen", "holds"), [
    (0.85, 0.2, 0.9, [True, True]),
    (0.5, 0.2, 0.7, [False, False]),
    (0.85, 0.5, 0.9, [False, True]),
])  # fmt: skip
def test_boxes_alone_must_show_no_class(iou, blind, seen, holds):
    conditions = {"reg": {"box_iou": rate(iou), "class_accuracy": rate(blind)}, "cls": {"class_accuracy": rate(seen)}}
    assert [claim.holds for claim in disentangle.levels("a", "b", conditions, 0.2)] == holds


@pytest.mark.parametrize(("share", "holds"), [(0.95, True), (0.94, False)])
def test_single_objects_must_be_sure(share, holds):
    assert single_object.sure("a", Interval(share, 0.0, 1.0)).holds is holds


def test_patches_lie_where_the_part_world_draws_them():
    layout = PartWorld(seed=3).scene(0).layout
    image = PartWorld(seed=3).scene(0).image.float()
    windows = cues.patches(layout)
    for box, mask, (x0, y0, x1, y1) in zip(layout.boxes, layout.masks, windows.boxes.int().tolist(), strict=True):
        inside = torch.zeros_like(mask)
        inside[y0 : y1 + 1, x0 : x1 + 1] = True
        body = mask & ~inside
        # Stripes vary where the window is, and the body beside it does not.
        assert image[:, mask & inside].std(1).max() > 3 * image[:, body].std(1).median()
        assert x0 > (box[0] + box[2]) / 2 - 1 and y1 < (box[1] + box[3]) / 2 + 1
