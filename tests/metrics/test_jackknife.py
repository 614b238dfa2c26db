"""Jackknife intervals: right for a mean, where the answer is known, and honest about too few groups."""

import math

import numpy as np
import pytest
from scipy.stats import t

from detinv.metrics.jackknife import grouped_difference_interval, grouped_mean_interval, jackknife_interval


def test_interval_of_a_mean_is_students():
    values = np.random.default_rng(3).normal(5, 2, size=12)
    without = [float(np.delete(values, k).mean()) for k in range(12)]
    found = jackknife_interval(float(values.mean()), without)
    low, high = t.interval(0.95, 11, values.mean(), values.std(ddof=1) / math.sqrt(12))
    assert found == pytest.approx((values.mean(), low, high))


def test_interval_contains_the_truth_as_often_as_it_says():
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        values = generator.exponential(size=24)
        # The statistic is the square of the mean: biased, and not a mean.
        found = jackknife_interval(values.mean() ** 2, [np.delete(values, k).mean() ** 2 for k in range(24)])
        hits += found.low <= 1 <= found.high
    assert hits / 400 > 0.87


def test_groups_without_a_value_are_left_out():
    assert jackknife_interval(1.0, [1.0, float("nan"), 2.0]) == jackknife_interval(1.0, [1.0, 2.0])


@pytest.mark.parametrize("without", [[], [3.0], [float("nan"), 3.0]])
def test_fewer_than_two_groups_say_nothing(without):
    assert jackknife_interval(3.0, without) == (3.0, -math.inf, math.inf)


def test_values_of_one_group_count_as_one():
    means = np.random.default_rng(3).normal(5, 2, size=12).tolist()
    low, high = t.interval(0.95, 11, np.mean(means), np.std(means, ddof=1) / math.sqrt(12))
    assert grouped_mean_interval([[one] * 7 for one in means]) == pytest.approx((np.mean(means), low, high))
    assert grouped_mean_interval([[], [1.0, 2.0]]) == (1.5, -math.inf, math.inf)


def test_a_difference_within_groups_counts_what_they_share():
    """Every group moves both of its kinds by as much: of their difference all groups are sure."""
    moved = np.random.default_rng(5).normal(0, 4, size=10).tolist()
    first, second = [[2.0 + by, 4.0 + by] for by in moved], [[1.0 + by] for by in moved]
    assert grouped_difference_interval(first, second) == pytest.approx((2.0, 2.0, 2.0))
    apart = grouped_difference_interval([*first, *([[]] * 10)], [*([[]] * 10), *second])
    assert apart.value == pytest.approx(2.0) and apart.high - apart.low > 6


def test_a_difference_is_the_means_difference_with_each_group_left_out():
    first, second = [[1.0, 5.0], [], [2.0], [math.nan]], [[0.0], [3.0, 4.0], [], []]
    without = [2.0 - 3.5, 8 / 3 - 0.0, 3.0 - 7 / 3]
    assert grouped_difference_interval(first, second) == pytest.approx(jackknife_interval(8 / 3 - 7 / 3, without))
    nothing = grouped_difference_interval([[1.0], [2.0]], [[], []])
    assert math.isnan(nothing.value) and nothing[1:] == (-math.inf, math.inf)
