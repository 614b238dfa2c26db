"""Each claim holds for measurements that bear it out, and fails for measurements that speak against it."""

import math

import pytest
import torch

from detinv.layouts.layout import Detections
from detinv.metrics.intervals import Interval
from detinv.verification import context, cues, disentangle, single_object, texture, transfer
from detinv.verification.claim import Claim, as_interval, percent, share_claim, with_interval
from detinv.verification.evidence import Range, Verdict
from detinv.worlds.context import ContextWorld
from detinv.worlds.part import PartWorld

HOLDS, FAILS, UNDECIDED = Verdict.HOLDS, Verdict.FAILS, Verdict.UNDECIDED
BULB, GEAR = ContextWorld.companions["bulb"], ContextWorld.companions["gear"]


def test_intervals_as_text():
    assert with_interval(Interval(0.5, 0.25, 0.75)) == "0.50 [0.25, 0.75]"
    assert percent(Interval(0.5, 0.25, 0.754)) == "50% [25, 75]"


def test_intervals_from_json():
    assert as_interval([0.5, 0.25, 0.75]) == Interval(0.5, 0.25, 0.75)
    assert all(map(math.isnan, as_interval([None, None, None])))


def test_a_claim_tells_its_sample_and_what_it_would_have_found():
    claim = share_claim(
        "a/b",
        "statement",
        "at most 10%",
        successes=1,
        trials=8,
        unit="images",
        allowed=Range(most=0.1),
        violation=0.9,
    )
    assert (claim.measured, claim.n) == ("12% [0, 53]", "8 images")
    assert claim.sensitivity == "a share of 90% would not hold with probability above 99%"
    assert claim.holds and claim.verdict is HOLDS
    assert claim.numbers["trials"] == 8


@pytest.mark.parametrize(("verdict", "holds"), [(HOLDS, True), (FAILS, False), (UNDECIDED, False)])
def test_only_one_verdict_holds(verdict, holds):
    assert Claim("a/b", "", "", "", "", "", 1.0, verdict).holds is holds


LABELS = list(transfer.ARCHITECTURES)
RETINANET, SECOND, FASTERRCNN = LABELS


def matrix(own, within, across, spread=0.0):
    """AP of every cell, and the same with each of twelve groups left out, which differ by `spread` within."""
    kinds = {
        (row, column): own
        if row == column
        else within
        if transfer.ARCHITECTURES[row] == transfer.ARCHITECTURES[column]
        else across
        for row in LABELS
        for column in LABELS
    }
    ap = {row: {column: kinds[row, column] for column in LABELS} for row in LABELS}
    without = {
        row: {column: left_out(ap[row][column], spread if ap[row][column] == within else 0.0) for column in LABELS}
        for row in LABELS
    }
    return ap, without


def left_out(value, spread):
    return [value + spread * (-1) ** k for k in range(12)]


@pytest.mark.parametrize(("others", "spread", "verdict"), [
    (80.0, 0.5, HOLDS),
    (98.0, 0.5, UNDECIDED),
    (99.5, 0.0, FAILS),
])  # fmt: skip
def test_the_diagonal_must_be_the_maximum_of_every_row(others, spread, verdict):
    assert transfer.diagonal(*matrix(99.0, others, 60.0, spread), "12 layouts").verdict is verdict


@pytest.mark.parametrize(("within", "across", "verdict"), [
    ([0.9, 0.8, 0.85, 0.8], [0.6, 0.6, 0.55, 0.5], HOLDS),
    ([0.9, 0.4, 0.9, 0.4], [0.6, 0.6, 0.55, 0.5], UNDECIDED),
    ([0.6, 0.6, 0.55, 0.5], [0.9, 0.8, 0.85, 0.8], FAILS),
    ([0.9], [0.5], UNDECIDED),
])  # fmt: skip
def test_one_architecture_must_transfer_better(within, across, verdict):
    kinds = {True: [[value] for value in within], False: [[value, value] for value in across]}
    recall = {
        row: {column: kinds[transfer.ARCHITECTURES[row] == transfer.ARCHITECTURES[column]] for column in LABELS}
        for row in LABELS
    }
    assert transfer.same_architecture(recall, "4 layouts").verdict is verdict


@pytest.mark.parametrize(("worst", "spread", "verdict"), [
    (0.0, 0.0, HOLDS),
    (1.5, 0.3, HOLDS),
    (1.5, 0.01, FAILS),
    (60.0, 1.0, FAILS),
    (0.5, 9.0, UNDECIDED),
])  # fmt: skip
def test_noise_must_show_nothing(worst, spread, verdict):
    ap = {"a": 0.0, "b": worst}
    without = {"a": left_out(0.0, 0.0), "b": left_out(worst, spread)}
    assert transfer.noise(ap, without, "12 layouts").verdict is verdict


@pytest.mark.parametrize(("found", "spread", "verdict"), [
    (88.0, 0.3, HOLDS),
    (93.5, 0.3, HOLDS),
    (94.0, 0.01, FAILS),
    (60.0, 1.0, FAILS),
    (88.0, 9.0, UNDECIDED),
])  # fmt: skip
def test_real_images_must_be_detected_as_well_as_others(found, spread, verdict):
    ap, own = {"a": 90.0, "b": found}, {"a": 90.0, "b": 88.0}
    without = {"a": left_out(90.0, 0.1), "b": left_out(found, spread)}
    assert transfer.real(ap, without, own, "12 layouts").verdict is verdict


def test_a_single_layout_decides_no_average_precision():
    layout = PartWorld(seed=3).scene(0).layout.without_masks()
    found = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64), layout.image_size)
    assert transfer.ap_without_groups([layout], [found], PartWorld.class_names) == []
    assert transfer.ap_without_groups([layout] * 3, [found] * 3, PartWorld.class_names) == [0.0] * 3
    assert transfer.noise({"a": 0.0}, {"a": []}, "1 layout").verdict is UNDECIDED


def change(low, high):
    return {"change_of_p": [(low + high) / 2, low, high], "objects": 9, "images": 9, "images_of_both": 9}


@pytest.mark.parametrize(("ends", "loses", "keeps"), [
    ((-0.8, -0.5), HOLDS, FAILS),
    ((-0.5, -0.2), UNDECIDED, FAILS),
    ((-0.05, 0.02), FAILS, HOLDS),
    ((-0.15, 0.02), FAILS, UNDECIDED),
    ((0.3, 0.5), FAILS, FAILS),
])  # fmt: skip
def test_change_of_probability_with_its_whole_interval(ends, loses, keeps):
    assert texture.loses_class("a", change(*ends)).verdict is loses
    assert texture.keeps_class("a", change(*ends)).verdict is keeps


def test_objects_of_a_few_images_are_no_more_than_these_images():
    """However many objects they hold: a claim counts what its interval leaves out."""
    few = change(-0.8, -0.5) | {"objects": 60, "images": 4}
    assert texture.loses_class("a", few).verdict is UNDECIDED
    difference = {"class_accuracy": [0.5, 0.4, 0.6], "box_iou": [-0.3, -0.4, -0.2]}
    assert {claim.verdict for claim in disentangle.differences("a", "b", difference, 60, 4)} == {UNDECIDED}


@pytest.mark.parametrize(("gap", "verdict"), [
    ((-0.7, -0.4), HOLDS),
    ((-0.7, 0.1), UNDECIDED),
    ((0.3, 0.7), FAILS),
])  # fmt: skip
def test_the_drop_must_grow_with_size(gap, verdict):
    large = change(-0.6, -0.4) | {"change_of_p_less_smallest": [sum(gap) / 2, *gap]}
    assert texture.loses_large_objects("a", change(-0.1, 0.0), large).verdict is verdict


def test_without_large_objects_nothing_is_known_of_them():
    claim = texture.loses_large_objects("a", change(-0.1, 0.0), None)
    assert claim.verdict is UNDECIDED and "0 large" in claim.n


@pytest.mark.parametrize(("p", "iou", "verdict"), [
    ((-0.9, -0.5), (-0.1, 0.05), HOLDS),
    ((-0.9, -0.5), (-0.6, -0.4), UNDECIDED),
    ((-0.9, -0.5), (0.6, 0.8), FAILS),
    ((-0.1, 0.4), (-0.01, 0.01), UNDECIDED),
])  # fmt: skip
def test_boxes_must_change_less_than_probabilities(p, iou, verdict):
    overall = change(*p) | {"change_of_iou": [sum(iou) / 2, *iou]}
    assert texture.keeps_box("a", overall).verdict is verdict


@pytest.mark.parametrize(("agreeing", "carried", "absent"), [
    (18, HOLDS, FAILS),
    (16, HOLDS, FAILS),
    (10, FAILS, UNDECIDED),
    (3, FAILS, HOLDS),
])  # fmt: skip
def test_a_planted_texture_must_be_there_or_not(agreeing, carried, absent):
    agreement = {"a": {"agreeing": agreeing, "objects": 20}}
    assert cues.carried("a", agreement).verdict is carried
    # 10 of 20 contradicts neither "at least 80%" nor, quite, "at most a third".
    assert cues.absent("a", agreement).verdict is (HOLDS if agreeing == 10 else absent)


def images(*, cap=0, foot=0, both=0, none=0):
    return [["cap"]] * cap + [["foot"]] * foot + [["cap", "foot"]] * both + [[]] * none


@pytest.mark.parametrize(("found", "present", "most_frequent"), [
    (images(cap=14, none=2), HOLDS, HOLDS),
    (images(cap=6, both=8, none=2), HOLDS, HOLDS),
    (images(cap=9, foot=3, none=4), HOLDS, UNDECIDED),
    (images(foot=14, none=2), FAILS, FAILS),
    (images(none=16), FAILS, UNDECIDED),
])  # fmt: skip
def test_the_planted_companion_must_be_the_most_frequent(found, present, most_frequent):
    assert context.present("bulb", BULB, found).verdict is present
    assert context.most_frequent("bulb", BULB, found).verdict is most_frequent


def test_more_objects_of_the_class_itself_are_no_context():
    assert context.most_frequent("bulb", BULB, [["bulb", "cap"]] * 9 + [["bulb"]] * 9).verdict is HOLDS


@pytest.mark.parametrize(("above", "below", "verdict"), [
    (8, 0, HOLDS),
    (5, 0, UNDECIDED),
    (5, 4, UNDECIDED),
    (0, 8, FAILS),
])  # fmt: skip
def test_the_companion_must_be_on_its_side(above, below, verdict):
    sides = {"cap": {"above": above, "below": below}}
    assert context.on_side("bulb", BULB, sides).verdict is verdict


def test_a_companion_that_never_appears_is_on_no_side():
    assert context.on_side("bulb", BULB, {}).verdict is UNDECIDED


@pytest.mark.parametrize(("with_star", "verdict"), [(0, HOLDS), (3, HOLDS), (9, FAILS)])
def test_nothing_may_appear_with_what_stands_alone(with_star, verdict):
    found = {"cap": [["star"]] * with_star + [["cap"]] * (16 - with_star), "foot": [[]] * 16}
    assert context.alone(found).verdict is verdict


@pytest.mark.parametrize(("with_peg", "verdict"), [(0, HOLDS), (2, HOLDS), (5, FAILS), (16, FAILS)])
def test_a_hoop_must_have_no_peg(with_peg, verdict):
    assert context.without([["peg", "foot"]] * with_peg + [["foot"]] * (16 - with_peg)).verdict is verdict


@pytest.mark.parametrize(("caps", "bulbs", "verdict"), [
    (15, 0, HOLDS),
    (7, 2, UNDECIDED),
    (0, 15, FAILS),
    (0, 0, UNDECIDED),
])  # fmt: skip
def test_asymmetry_must_have_the_planted_direction(caps, bulbs, verdict):
    found = {"bulb": [["cap"]] * caps + [[]] * (16 - caps), "cap": [["bulb"]] * bulbs + [[]] * (16 - bulbs)}
    assert context.asymmetric("bulb", BULB, found).verdict is verdict


@pytest.mark.parametrize(("left", "right", "verdict"), [
    (7, 7, HOLDS),
    (3, 10, HOLDS),
    (1, 13, FAILS),
    (14, 0, FAILS),
    (2, 2, UNDECIDED),
    (0, 0, UNDECIDED),
])  # fmt: skip
def test_the_control_must_prefer_no_side(left, right, verdict):
    assert context.no_side("gear", GEAR, {"peg": {"left": left, "right": right}}).verdict is verdict


@pytest.mark.parametrize(("with_cap", "verdict"), [(0, HOLDS), (1, HOLDS), (8, FAILS)])
def test_random_weights_must_show_no_companion(with_cap, verdict):
    found = {name: [[]] * 8 for name in ("ball", "gear")} | {"bulb": images(cap=with_cap, none=8 - with_cap)}
    assert context.random_weights(found).verdict is verdict


def rate(value):
    return [value, value - 0.1, value + 0.1]


@pytest.mark.parametrize(("accuracy", "iou", "verdicts"), [
    ((0.3, 0.6), (-0.2, -0.1), [HOLDS, HOLDS]),
    ((-0.1, 0.6), (-0.2, 0.1), [UNDECIDED, UNDECIDED]),
    ((-0.6, -0.3), (0.1, 0.2), [FAILS, FAILS]),
])  # fmt: skip
def test_classes_and_boxes_must_come_apart(accuracy, iou, verdicts):
    difference = {"class_accuracy": [sum(accuracy) / 2, *accuracy], "box_iou": [sum(iou) / 2, *iou]}
    assert [claim.verdict for claim in disentangle.differences("a", "b", difference, 30, 10)] == verdicts


@pytest.mark.parametrize(("iou", "blind", "seen", "verdicts"), [
    (0.85, 0.2, 0.9, [HOLDS, HOLDS, HOLDS]),
    (0.65, 0.4, 0.75, [HOLDS, HOLDS, HOLDS]),
    (0.5, 0.7, 0.5, [FAILS, FAILS, FAILS]),
])  # fmt: skip
def test_boxes_alone_must_show_no_class(iou, blind, seen, verdicts):
    conditions = {"reg": {"box_iou": rate(iou), "class_accuracy": rate(blind)}, "cls": {"class_accuracy": rate(seen)}}
    assert [claim.verdict for claim in disentangle.levels("a", "b", conditions, 30, 10, 0.2)] == verdicts


@pytest.mark.parametrize(("sure", "verdict"), [(14, HOLDS), (13, HOLDS), (9, FAILS), (0, FAILS)])
def test_single_objects_must_be_sure(sure, verdict):
    assert single_object.sure("a", [0.95] * sure + [0.9] * (14 - sure)).verdict is verdict


def test_patches_lie_where_the_part_world_draws_them():
    layout = PartWorld(seed=3).scene(0).layout
    image = PartWorld(seed=3).scene(0).image.float()
    windows = cues.patches(layout)
    for box, mask, (x0, y0, x1, y1) in zip(layout.boxes, layout.masks, windows.boxes.int().tolist(), strict=True):
        inside = torch.zeros_like(mask)
        inside[y0 : y1 + 1, x0 : x1 + 1] = True
        body = mask & ~inside
        # The window has stripes, and the body around it is of one colour.
        assert image[:, mask & inside].std(1).max() > 3 * image[:, body].std(1).median()
        assert x0 > (box[0] + box[2]) / 2 - 1 and y1 < (box[1] + box[3]) / 2 + 1
