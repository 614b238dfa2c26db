"""Confidence intervals of numbers that only a whole set of images has, such as average precision."""

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from scipy.stats import t

from detinv.metrics.intervals import Interval


def jackknife_interval(value: float, without: Sequence[float], level: float = 0.95) -> Interval:
    """Return a statistic with its delete-one-group jackknife interval.

    The interval is symmetric about `value`, from Student's t with as many degrees of freedom as there are groups, less
    one. It is infinite where fewer than two groups leave the statistic defined.

    Args:
        value: the statistic of the whole set.
        without: the statistic with each of several groups of equal size left out; the groups make up the set. NaN where
            it is not defined.
        level: of confidence, in (0, 1).

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 11.
    """
    left_out = np.asarray([one for one in without if math.isfinite(one)], dtype=np.float64)
    groups = len(left_out)
    if groups < 2:
        return Interval(value, -math.inf, math.inf)
    error = math.sqrt((groups - 1) / groups * float(np.square(left_out - left_out.mean()).sum()))
    reach = float(t.ppf((1 + level) / 2, groups - 1)) * error
    return Interval(value, value - reach, value + reach)


def grouped_mean_interval(groups: Sequence[Sequence[float]], level: float = 0.95) -> Interval:
    """Return the mean of all values with its jackknife interval, for values that are independent between groups only.

    The objects of one image are such a group: they were optimised together. See `jackknife_interval`.

    Args:
        groups: the values of each; NaN with an infinite interval where there is no value at all. Finite ones count.
        level: of confidence, in (0, 1).
    """
    mean, without = _means([finite for group in groups if (finite := _finite(group))])
    return jackknife_interval(mean, without, level)


def grouped_difference_interval(
    first: Sequence[Sequence[float]], second: Sequence[Sequence[float]], level: float = 0.95
) -> Interval:
    """Return the mean of all first values less that of all second ones, with its jackknife interval.

    For values that are independent between groups only, as in `grouped_mean_interval`; two kinds of objects in the same
    images, for instance. Each group is left out of both means at once.

    Args:
        first, second: the values of each group, which may have none of a kind; NaN with an infinite interval where no
            group has. Finite ones count.
        level: of confidence, in (0, 1).

    Raises:
        ValueError: when there are not as many groups of both.
    """
    pairs = [(_finite(one), _finite(other)) for one, other in zip(first, second, strict=True)]
    kept = [pair for pair in pairs if any(pair)]
    (mean, without), (other, without_other) = (_means([pair[kind] for pair in kept]) for kind in (0, 1))
    gaps = [one - another for one, another in zip(without, without_other, strict=True)]
    return jackknife_interval(mean - other, gaps, level)


def _finite(values: Sequence[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def _means(groups: Sequence[Sequence[float]]) -> tuple[float, list[float]]:
    """Return the mean of all values, and with each group left out; NaN where none is left."""
    # As ratios of whole numbers, so that equal means are equal.
    sums, counts = [sum(map(Fraction, group), Fraction()) for group in groups], [len(group) for group in groups]
    total, count = sum(sums, Fraction()), sum(counts)
    without = [_ratio(total - mine, count - number) for mine, number in zip(sums, counts, strict=True)]
    return _ratio(total, count), without


def _ratio(total: Fraction, count: int) -> float:
    return float(total / count) if count else math.nan
