"""How sure a number is: intervals and tests for the counts and means of experiments."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest, norm


class Interval(NamedTuple):
    """A value with the interval of `level` around it."""

    value: float
    low: float
    high: float


def wilson(successes: int, trials: int, level: float = 0.95) -> Interval:
    """A proportion with its Wilson score interval; NaN with the interval (0, 1) without a trial.

    Args:
        successes: at least 0, at most `trials`.
        level: of confidence, in (0, 1).

    Source: Wilson 1927.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes of {trials} trials")
    if trials == 0:
        return Interval(math.nan, 0.0, 1.0)
    found = binomtest(successes, trials).proportion_ci(level, method="wilson")
    return Interval(successes / trials, float(found.low), float(found.high))


def binomial_p(successes: int, trials: int, probability: float = 0.5) -> float:
    """Two-sided p-value of an exact binomial test; 1 without a trial."""
    return 1.0 if trials == 0 else float(binomtest(successes, trials, probability).pvalue)


def mean_interval(values: Sequence[float], level: float = 0.95, draws: int = 2000, seed: int = 0) -> Interval:
    """A mean with its percentile bootstrap interval; finite values only, NaN where there is none.

    Args:
        values: one a unit; differences within pairs for a paired comparison.
        level: of confidence, in (0, 1).
        draws: resamples.
        seed: of the resampling.
    """
    sample = np.asarray([value for value in values if math.isfinite(value)], dtype=np.float64)
    if not len(sample):
        return Interval(math.nan, math.nan, math.nan)
    generator = np.random.default_rng(seed)
    means = sample[generator.integers(len(sample), size=(draws, len(sample)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(sample.mean()), float(low), float(high))


def two_proportions_p(first: tuple[int, int], second: tuple[int, int]) -> float:
    """One-sided p-value that the first proportion is the larger one, by the pooled normal approximation.

    Args:
        first, second: (successes, trials).
    """
    (a, n), (b, m) = first, second
    if not n or not m:
        return 1.0
    pooled = (a + b) / (n + m)
    spread = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    return 1.0 if spread == 0 else float(norm.sf((a / n - b / m) / spread))
