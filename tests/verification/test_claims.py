"""Each claim holds for numbers that bear it out, and fails for numbers that do not."""

import pytest

from detinv.metrics.intervals import Interval
from detinv.verification import cues, texture, transfer
from detinv.verification.claim import percent, shown


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
