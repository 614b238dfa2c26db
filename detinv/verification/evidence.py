"""Decisions: what a measurement with its interval says about a requirement, and how much it could have missed.

A requirement is a range from `least` to `most`. Two rules decide:

- `borne_out`: the whole interval must lie in the range. For differences that must be there: at the edge of the range
  the rule is passed by chance in at most 2.5 % of all runs.
- `not_contradicted`: the interval must touch the range. For shares that must be small or large: a run fails only when
  its images speak against the claim. Few images contradict nothing, so the rule also asks for `power`, the probability
  of failing if a stated violation were true; below `LEAST_POWER` a claim is undecided, and needs more images.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy.stats import beta, binom, norm

from detinv.metrics.intervals import Interval

LEVEL = 0.95
"""Of all confidence intervals, unless a claim states another."""
LEAST_POWER = 0.8
"""Below this probability of finding a violation, not finding one means nothing."""

LEAST_RESAMPLED = 8
"""A bootstrap of fewer units than these is far too sure: of a single one, its interval has no width at all."""
LEAST_LEFT_OUT = 5
"""Fewer groups than these decide nothing by a jackknife: Student's t knows that they are few, but not that a handful of
objects often gives two images the same number. With no spread at all, `LEAST_RESAMPLED` of them are needed."""


class Verdict(StrEnum):
    """What a run says of a claim."""

    HOLDS = "holds"
    FAILS = "fails"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Range:
    """The values that a claim allows, ends included."""

    least: float = -math.inf
    most: float = math.inf


def borne_out(interval: Interval, allowed: Range, resampled: int | None = None, left_out: int | None = None) -> Verdict:
    """Return HOLDS if the whole interval is allowed, FAILS if none of it is, UNDECIDED otherwise or for NaN.

    An interval that is nothing but an end of the range is UNDECIDED: differences that are all 0 are no difference.

    Args:
        resampled: for a bootstrap interval the number of units that were resampled; UNDECIDED for fewer than
            `LEAST_RESAMPLED`.
        left_out: for a jackknife interval the number of groups that were left out in turn; UNDECIDED for fewer than
            `LEAST_LEFT_OUT`, and without a width for fewer than `LEAST_RESAMPLED`.
    """
    if resampled is not None and resampled < LEAST_RESAMPLED:
        return Verdict.UNDECIDED
    least = LEAST_RESAMPLED if interval.low == interval.high else LEAST_LEFT_OUT
    if left_out is not None and left_out < least:
        return Verdict.UNDECIDED
    if interval.low == interval.high and interval.low in (allowed.least, allowed.most):
        return Verdict.UNDECIDED
    if allowed.least <= interval.low and interval.high <= allowed.most:
        return Verdict.HOLDS
    return Verdict.FAILS if _apart(interval, allowed) else Verdict.UNDECIDED


def not_contradicted(interval: Interval, allowed: Range, power: float) -> Verdict:
    """Return FAILS if none of the interval is allowed; otherwise HOLDS, or UNDECIDED where the power is too small.

    Args:
        power: probability of FAILS under the violation that the claim states, in [0, 1].
    """
    if _apart(interval, allowed):
        return Verdict.FAILS
    usable = math.isfinite(interval.value) and power >= LEAST_POWER
    return Verdict.HOLDS if usable else Verdict.UNDECIDED


def share(successes: int, trials: int, level: float = LEVEL) -> Interval:
    """Return a proportion with its exact interval; NaN and (0, 1) without a trial.

    Its bounds fit any number of trials: 1 of 8 gives 0.3 % to 53 %.

    Raises:
        ValueError: when there are more successes than trials, or fewer than 0.

    Source: Clopper and Pearson 1934.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes of {trials} trials")
    if trials == 0:
        return Interval(math.nan, 0.0, 1.0)
    low, high = _exact_bounds(np.array([successes]), trials, level)
    return Interval(successes / trials, float(low[0]), float(high[0]))


def difference(first: Interval, second: Interval) -> Interval:
    """Return the difference of two independent estimates, first minus second, with its interval.

    Source: MOVER, Zou and Donner 2008; for Wilson's intervals of two proportions Newcombe 1998, method 10.
    """
    value = first.value - second.value
    below = math.hypot(first.value - first.low, second.high - second.value)
    above = math.hypot(first.high - first.value, second.value - second.low)
    return Interval(value, value - below, value + above)


def share_power(trials: int, allowed: Range, violation: float, level: float = LEVEL) -> float:
    """Return the probability that `not_contradicted` fails if the true share is `violation`.

    Args:
        violation: a share that is not allowed, in [0, 1].
    """
    if trials == 0:
        return 0.0
    outcomes = np.arange(trials + 1)
    low, high = _exact_bounds(outcomes, trials, level)
    failing = outcomes[(high < allowed.least) | (low > allowed.most)]
    return float(binom.pmf(failing, trials, violation).sum())


def mean_power(interval: Interval, allowed: Range, violation: float, units: int) -> float:
    """Return about how probably `not_contradicted` fails if the true mean is `violation`, by the normal approximation.

    Args:
        interval: what was measured, at `LEVEL`; its width stands for the spread under the violation, too.
        violation: a mean that is not allowed.
        units: what the interval was made from, by resampling or leaving out. Fewer than `LEAST_RESAMPLED` have no
            power: where all of them are 0, the interval has no width, and says nothing of the spread.
    """
    if units < LEAST_RESAMPLED:
        return 0.0
    distance = max(allowed.least - violation, violation - allowed.most)
    z = float(norm.ppf((1 + LEVEL) / 2))
    error = (interval.high - interval.low) / (2 * z)
    if not math.isfinite(error):
        return 0.0
    if error == 0:
        return float(distance > 0)
    return float(norm.cdf(distance / error - z))


def _exact_bounds(successes: np.ndarray, trials: int, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the Clopper-Pearson bounds of several outcomes at once, as quantiles of beta distributions."""
    tail = (1 - level) / 2
    # The quantiles of no successes below, and of nothing but successes above, are not defined.
    low = np.where(successes > 0, beta.ppf(tail, np.maximum(successes, 1), trials - successes + 1), 0.0)
    high = np.where(successes < trials, beta.ppf(1 - tail, successes + 1, np.maximum(trials - successes, 1)), 1.0)
    return low, high


def _apart(interval: Interval, allowed: Range) -> bool:
    return interval.high < allowed.least or interval.low > allowed.most
