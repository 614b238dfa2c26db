"""Intervals and tests, against formulas written out and sums taken one by one."""

import math
from fractions import Fraction

import numpy as np
import pytest

from detinv.metrics.intervals import binomial_p, mean_interval, two_proportions_p, wilson

# Quantiles of the standard normal distribution, from a table.
Z = {0.9: 1.6448536269514722, 0.95: 1.959963984540054, 0.99: 2.5758293035489004}


def wilson_by_hand(k, n, z):
    """The two proportions whose score statistic is z: roots of (p - k/n)^2 = z^2 p (1 - p) / n."""
    a, b, c = 1 + z * z / n, -(2 * k / n + z * z / n), (k / n) ** 2
    root = math.sqrt(max(b * b - 4 * a * c, 0.0))
    return (-b - root) / (2 * a), (-b + root) / (2 * a)


@pytest.mark.parametrize("level", Z)
@pytest.mark.parametrize(("successes", "trials"), [(0, 1), (1, 1), (3, 10), (0, 20), (20, 20), (417, 1000)])
def test_wilson_solves_its_equation(successes, trials, level):
    found = wilson(successes, trials, level)
    assert found.value == successes / trials
    assert (found.low, found.high) == pytest.approx(wilson_by_hand(successes, trials, Z[level]), abs=1e-9)
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_wilson_of_nothing_is_all_that_is_possible():
    found = wilson(0, 0)
    assert math.isnan(found.value) and (found.low, found.high) == (0, 1)


@pytest.mark.parametrize(("successes", "trials"), [(-1, 3), (4, 3), (1, 0)])
def test_wilson_refuses_impossible_counts(successes, trials):
    with pytest.raises(ValueError, match=f"{successes} successes of {trials} trials"):
        wilson(successes, trials)


def binomial_by_summation(k, n, p):
    """Exact sum over all outcomes that are no more probable than k."""
    p = Fraction(p)
    chances = [math.comb(n, j) * p**j * (1 - p) ** (n - j) for j in range(n + 1)]
    return float(sum(chance for chance in chances if chance <= chances[k]))


@pytest.mark.parametrize("probability", [Fraction(1, 2), Fraction(1, 4), Fraction(9, 10)])
@pytest.mark.parametrize(("successes", "trials"), [(0, 1), (3, 3), (5, 10), (2, 10), (9, 10), (0, 30), (21, 40)])
def test_binomial_p_is_the_sum_over_outcomes_as_rare(successes, trials, probability):
    expected = binomial_by_summation(successes, trials, probability)
    assert binomial_p(successes, trials, float(probability)) == pytest.approx(expected, rel=1e-9)


def test_binomial_p_of_nothing_is_one():
    assert binomial_p(0, 0) == 1


def test_mean_interval_covers_the_truth_about_as_often_as_it_says():
    generator = np.random.default_rng(4)
    covered, widths = 0, []
    for trial in range(200):
        sample = generator.exponential(2.0, size=60)
        found = mean_interval(sample.tolist(), level=0.9, draws=400, seed=trial)
        assert found.value == pytest.approx(sample.mean())
        covered += found.low <= 2.0 <= found.high
        widths.append(found.high - found.low)
    # 0.9, three standard deviations of 200 trials below and above, and some less as exponentials are skewed.
    assert 0.82 <= covered / 200 <= 0.965
    # A mean of 60 has a standard deviation of 2 / sqrt(60).
    assert np.mean(widths) == pytest.approx(2 * Z[0.9] * 2 / math.sqrt(60), rel=0.1)


def test_mean_interval_is_the_same_for_the_same_seed_and_wider_for_a_higher_level():
    values = [1.0, 2.0, 4.0, 8.0, 16.0]
    assert mean_interval(values) == mean_interval(values) != mean_interval(values, seed=1)
    assert mean_interval(values, level=0.99).low < mean_interval(values, level=0.5).low


def test_mean_interval_is_the_percentile_bootstrap():
    values = np.random.default_rng(2).normal(size=23)
    resamples = values[np.random.default_rng(5).integers(23, size=(500, 23))].mean(axis=1)
    expected = np.quantile(resamples, [0.05, 0.95])
    found = mean_interval(values.tolist(), level=0.9, draws=500, seed=5)
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=1e-12)


def test_mean_interval_leaves_out_what_is_not_finite():
    assert mean_interval([math.nan, 1.0, math.inf, 3.0]) == mean_interval([1.0, 3.0])
    assert all(math.isnan(number) for number in mean_interval([math.nan]))
    assert all(math.isnan(number) for number in mean_interval([]))
    assert mean_interval([5.0]) == (5.0, 5.0, 5.0)


@pytest.mark.parametrize(
    ("first", "second"), [((8, 8), (0, 8)), ((5, 8), (3, 8)), ((45, 60), (30, 55)), ((1, 9), (4, 5))]
)
def test_two_proportions_p_is_the_tail_of_the_hypergeometric_distribution(first, second):
    """The chance that the first has as many successes or more, if all successes are dealt out at random."""
    (a, n), (b, m) = first, second
    ways = [math.comb(n, k) * math.comb(m, a + b - k) for k in range(a + b + 1)]
    assert two_proportions_p(first, second) == pytest.approx(sum(ways[a:]) / sum(ways), rel=1e-9)


def test_few_images_prove_less_than_the_normal_approximation_says():
    assert two_proportions_p((3, 3), (0, 3)) == pytest.approx(1 / 20)


@pytest.mark.parametrize(("first", "second"), [((0, 0), (3, 4)), ((3, 4), (0, 0)), ((4, 4), (9, 9)), ((0, 4), (0, 9))])
def test_two_proportions_that_cannot_be_told_apart(first, second):
    assert two_proportions_p(first, second) == 1
