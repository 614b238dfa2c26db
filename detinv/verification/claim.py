"""One claim: what is expected, what was measured on how many images, and whether it holds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from detinv.metrics.intervals import Interval
from detinv.verification.evidence import LEVEL, Range, Verdict, not_contradicted, share, share_power


@dataclass(frozen=True)
class Claim:
    """What `detinv verify` prints two lines about.

    Args:
        name: short and unique, `<group>/<what>`; `<group>/control-<what>` for a control.
        statement: what is claimed, in a sentence.
        expected: when the claim holds, in words.
        measured: the measurement with its interval.
        n: size of the sample, such as "24 images".
        violation: what would make the claim fail, in words, such as "a share of 50 %".
        power: probability that a run of this size fails under that violation, in [0, 1].
        verdict: what the measurement says of the claim.
        numbers: what the verdict rests on, ready for JSON.
    """

    name: str
    statement: str
    expected: str
    measured: str
    n: str
    violation: str
    power: float
    verdict: Verdict
    numbers: Mapping[str, object] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether the claim neither failed nor stayed undecided."""
        return self.verdict is Verdict.HOLDS

    @property
    def is_control(self) -> bool:
        """Whether the claim is about the procedure: something that must not be found where nothing is."""
        return self.name.partition("/")[2].startswith("control-")

    @property
    def sensitivity(self) -> str:
        """The violation, and how probably it would have been found, in words."""
        probability = "above 99%" if self.power > 0.99 else f"{self.power:.0%}"
        return f"{self.violation} would not hold with probability {probability}"


def share_claim(
    name: str,
    statement: str,
    expected: str,
    *,
    successes: int,
    trials: int,
    unit: str,
    allowed: Range,
    violation: float,
    numbers: Mapping[str, object] | None = None,
) -> Claim:
    """Return a claim about a proportion, which fails only if its exact 95 % interval lies outside the allowed range.

    Args:
        name, statement, expected, numbers: see `Claim`.
        successes, trials: what was counted.
        unit: of a trial, in the plural.
        allowed: shares, in [0, 1].
        violation: a share that is not allowed, and for which the power is given.
    """
    measured = share(successes, trials)
    power = share_power(trials, allowed, violation)
    return Claim(
        name,
        statement,
        expected,
        percent(measured),
        f"{trials} {unit}",
        f"a share of {violation:.0%}",
        power,
        not_contradicted(measured, allowed, power),
        {"share": measured, "successes": successes, "trials": trials, **(numbers or {})},
    )


def borne_out_claim(
    name: str,
    statement: str,
    expected: str,
    measured: str,
    n: str,
    violation: str,
    verdict: Verdict,
    numbers: Mapping[str, object],
) -> Claim:
    """Return a claim whose whole interval must lie in a range, decided by `borne_out`; see `Claim`.

    Args:
        violation: a value at the edge of the range, in words; the interval keeps it from passing.
    """
    return Claim(name, statement, expected, measured, n, violation, (1 + LEVEL) / 2, verdict, numbers)


def as_interval(values: Sequence[float | None]) -> Interval:
    """Return three numbers, as JSON holds an interval, as an `Interval`; None, which JSON has for NaN, is NaN."""
    value, low, high = (math.nan if number is None else float(number) for number in values)
    return Interval(value, low, high)


def with_interval(interval: Interval, scale: float = 1.0, digits: int = 2, unit: str = "") -> str:
    """Return a value with its interval as text; `scale` is 100 for percent, and NaN stands for no measurement."""
    if math.isnan(interval.value):
        return "nothing to measure"
    value, low, high = (f"{number * scale:.{digits}f}" for number in interval)
    return f"{value}{unit} [{low}, {high}]"


def percent(interval: Interval) -> str:
    """Return a proportion with its interval as text, in percent."""
    return with_interval(interval, 100, 0, "%")
