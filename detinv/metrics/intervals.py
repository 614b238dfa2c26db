"""Intervals and tests for the counts and means of experiments."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest, bootstrap, fisher_exact


class Interval(NamedTuple):
    """A value with the interval of `level` around it."""

    value: float
    low: float
    high: float


def wilson(successes: int, trials: int, level: float = 0.95) -> Interval:
    """Compute a proportion with its Wilson score interval; NaN with the interval (0, 1) without a trial.

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
    """Compute the two-sided p-value of an exact binomial test; 1 without a trial."""
    return 1.0 if trials == 0 else float(binomtest(successes, trials, probability).pvalue)


def mean_interval(values: Sequence[float], level: float = 0.95, draws: int = 2000, seed: int = 0) -> Interval:
    """Compute a mean with its percentile bootstrap interval; finite values only, NaN where there is none.

    Args:
        values: one for each unit; differences within pairs for a paired comparison.
        level: of confidence, in (0, 1).
        draws: resamples.
        seed: of the resampling.
    """
    sample = np.asarray([value for value in values if math.isfinite(value)], dtype=np.float64)
    if not len(sample):
        return Interval(math.nan, math.nan, math.nan)
    if len(sample) == 1:
        return Interval(*[float(sample[0])] * 3)
    found = bootstrap(
        (sample,),
        np.mean,
        n_resamples=draws,
        confidence_level=level,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(float(sample.mean()), float(found.low), float(found.high))


def two_proportions_p(first: tuple[int, int], second: tuple[int, int]) -> float:
    """Compute the one-sided p-value that the first proportion is the larger one, by Fisher's exact test.

    Args:
        first, second: (successes, trials).

    Returns:
        In [0, 1]; 1 where a proportion has no trial.

    Source: Fisher 1922.
    """
    table = [[successes, trials - successes] for successes, trials in (first, second)]
    return float(fisher_exact(table, alternative="greater").pvalue) if first[1] and second[1] else 1.0
