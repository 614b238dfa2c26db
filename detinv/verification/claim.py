"""One claim: what is expected, what was measured, and whether it holds."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from detinv.metrics.intervals import Interval


@dataclass(frozen=True)
class Claim:
    """What `detinv verify` prints a line for.

    Args:
        name: short and unique, `<subject>/<what>`.
        statement: what is claimed, in a sentence.
        expected: when it holds, in words.
        measured: what came out, with its interval.
        holds: whether what came out is what is expected.
        numbers: whatever the verdict rests on, ready for JSON.
    """

    name: str
    statement: str
    expected: str
    measured: str
    holds: bool
    numbers: Mapping[str, object] = field(default_factory=dict)


def shown(interval: Interval, scale: float = 1.0, digits: int = 2, unit: str = "") -> str:
    """A value with its interval, as text; `scale` is 100 for percent."""
    value, low, high = (f"{number * scale:.{digits}f}" for number in interval)
    return f"{value}{unit} [{low}, {high}]"


def percent(interval: Interval) -> str:
    """A proportion with its interval, in percent."""
    return shown(interval, 100, 0, " %")
