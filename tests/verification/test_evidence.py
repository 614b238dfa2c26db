"""Decisions fit the size of the sample: few images contradict nothing, and prove nothing either."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from detinv.metrics.intervals import Interval, wilson
from detinv.verification.evidence import (
    Range,
    Verdict,
    borne_out,
    difference,
    mean_power,
    not_contradicted,
    share,
    share_power,
)
from detinv.verification.transfer import at_most_claim

HOLDS, FAILS, UNDECIDED = Verdict.HOLDS, Verdict.FAILS, Verdict.UNDECIDED
AT_MOST_A_TENTH = Range(most=0.1)


def decide_share(successes, trials, allowed, violation):
    return not_contradicted(share(successes, trials), allowed, share_power(trials, allowed, violation))


@pytest.mark.parametrize(("successes", "trials", "verdict"), [
    (1, 16, HOLDS),  # 6 %
    (2, 16, HOLDS),  # 12 %, more than a tenth, which so few images do not show
    (5, 16, FAILS),
    (16, 16, FAILS),
    (60, 480, HOLDS),  # 12 %
    (80, 480, FAILS),  # 17 %: many images do show it
    (0, 3, UNDECIDED),
    (0, 0, UNDECIDED),
])  # fmt: skip
def test_a_share_above_its_limit_fails_only_if_the_sample_shows_it(successes, trials, verdict):
    assert decide_share(successes, trials, AT_MOST_A_TENTH, 0.5) is verdict


@pytest.mark.parametrize(("interval", "verdict"), [
    ((0.5, 0.2, 0.8), HOLDS),
    ((0.5, -0.1, 0.8), UNDECIDED),
    ((-0.5, -0.8, -0.1), FAILS),
    ((0.5, 0.0, 0.8), HOLDS),
    ((0.0, 0.0, 0.0), UNDECIDED),
    ((math.nan, math.nan, math.nan), UNDECIDED),
    ((0.5, -math.inf, math.inf), UNDECIDED),
])  # fmt: skip
def test_a_difference_must_be_borne_out_by_its_whole_interval(interval, verdict):
    assert borne_out(Interval(*interval), Range(least=0.0)) is verdict


@pytest.mark.parametrize(("resampled", "verdict"), [(1, UNDECIDED), (7, UNDECIDED), (8, HOLDS)])
def test_a_bootstrap_of_a_few_units_proves_nothing(resampled, verdict):
    assert borne_out(Interval(0.5, 0.5, 0.5), Range(least=0.0), resampled) is verdict


def test_a_range_has_two_ends():
    allowed = Range(-0.1, 0.1)
    assert borne_out(Interval(0.0, -0.05, 0.05), allowed) is HOLDS
    assert borne_out(Interval(0.2, 0.15, 0.25), allowed) is FAILS
    assert borne_out(Interval(-0.2, -0.25, -0.15), allowed) is FAILS
    assert borne_out(Interval(0.1, 0.05, 0.15), allowed) is UNDECIDED


def test_without_power_a_claim_is_undecided_but_may_still_fail():
    assert not_contradicted(Interval(0.0, 0.0, 0.2), AT_MOST_A_TENTH, 0.79) is UNDECIDED
    assert not_contradicted(Interval(0.0, 0.0, 0.2), AT_MOST_A_TENTH, 0.81) is HOLDS
    assert not_contradicted(Interval(0.9, 0.5, 1.0), AT_MOST_A_TENTH, 0.1) is FAILS


@pytest.mark.parametrize(("successes", "trials"), [(0, 8), (1, 8), (5, 13), (8, 8)])
def test_share_is_clopper_and_pearsons(successes, trials):
    found = binomtest(successes, trials).proportion_ci(0.95, method="exact")
    assert share(successes, trials) == pytest.approx((successes / trials, found.low, found.high))


def test_share_refuses_more_successes_than_trials():
    with pytest.raises(ValueError, match="3 successes of 2 trials"):
        share(3, 2)


@pytest.mark.parametrize(("trials", "allowed", "violation"), [
    (8, AT_MOST_A_TENTH, 0.9),
    (14, Range(least=0.95), 0.5),
    (9, Range(0.5, 0.5), 0.95),
])  # fmt: skip
def test_share_power_is_how_often_a_violation_fails(trials, allowed, violation):
    drawn = np.random.default_rng(1).binomial(trials, violation, size=2000)
    verdicts = {k: decide_share(k, trials, allowed, violation) for k in set(drawn.tolist())}
    failing = sum(verdicts[k] is FAILS for k in drawn.tolist()) / 2000
    assert share_power(trials, allowed, violation) == pytest.approx(failing, abs=0.03)


def test_share_power_is_zero_where_no_outcome_fails():
    assert share_power(0, AT_MOST_A_TENTH, 0.9) == 0.0
    assert share_power(2, Range(least=0.5), 0.1) == 0.0


def test_a_share_at_its_limit_rarely_fails():
    assert share_power(24, AT_MOST_A_TENTH, 0.1) <= 0.025


def test_mean_power_is_how_often_a_violation_fails():
    generator = np.random.default_rng(2)
    error, allowed, violation = 0.1, Range(most=0.0), 0.25
    means = generator.normal(violation, error, size=4000)
    failing = np.mean(means - 1.96 * error > 0)
    assert mean_power(Interval(0.0, -0.196, 0.196), allowed, violation, 24) == pytest.approx(failing, abs=0.03)


@pytest.mark.parametrize(("interval", "units", "power"), [
    ((0.0, 0.0, 0.0), 8, 1.0),
    ((0.0, 0.0, 0.0), 7, 0.0),
    ((0.0, -math.inf, math.inf), 8, 0.0),
    ((math.nan, math.nan, math.nan), 8, 0.0),
])  # fmt: skip
def test_mean_power_without_a_usable_spread(interval, units, power):
    assert mean_power(Interval(*interval), Range(most=1.0), 20.0, units) == power


def test_two_images_without_a_detection_do_not_pass_a_control():
    assert at_most_claim("noise", "nothing is found", 0.0, [0.0, 0.0], 1.0, "2 layouts", "one").verdict is UNDECIDED
    assert at_most_claim("noise", "nothing is found", 0.0, [0.0] * 8, 1.0, "8 layouts", "one").verdict is HOLDS


def test_difference_of_proportions_is_newcombes():
    # Newcombe 1998, table II, example (a): 56 of 70 against 48 of 80.
    found = difference(wilson(56, 70), wilson(48, 80))
    assert found == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)
