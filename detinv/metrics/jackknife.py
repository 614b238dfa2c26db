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
    finite = [[value for value in group if math.isfinite(value)] for group in groups]
    kept = [group for group in finite if group]
    if not kept:
        return Interval(math.nan, -math.inf, math.inf)
    # As ratios of whole numbers, so that equal means are equal.
    sums, counts = [sum(map(Fraction, group)) for group in kept], [len(group) for group in kept]
    total, count = sum(sums), sum(counts)
    without = [(total - mine) / (count - number) for mine, number in zip(sums, counts, strict=True) if number < count]
    return jackknife_interval(float(total / count), [float(one) for one in without], level)
