"""Claims that a table of methods has to bear out: controls lose, and maps depend on what was learnt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from detinv.experiments.attribution.judged import ORIGINAL
from detinv.metrics.intervals import Interval, mean_interval

HOLDS, FAILS, UNDECIDED = "holds", "fails", "undecided"
CONTROL = "control_"
"""How the names of controls begin."""
REQUIRED = {
    "control_gaussian": ("deletion",),
    "control_uniform": ("energy_box", "insertion", "deletion"),
    "control_noise": ("energy_box", "insertion", "deletion"),
    "control_edges": ("energy_box", "insertion", "deletion"),
}
"""The measures in which a control must lose. A Gaussian satisfies whatever asks for the box, and as the box is where
the detector looks, putting it back restores much of the score."""
_CHANGED = 0.5
"""Rank correlation below which a map counts as another one."""


@dataclass(frozen=True)
class ControlClaim:
    """One claim about one detector, with what was measured and whether it holds.

    Args:
        statement: in a sentence.
        measured: paired differences, or correlations.
        verdict: "holds" or "fails" where the whole interval is on one side; otherwise "undecided".
    """

    statement: str
    measured: Interval
    n: int
    verdict: str


def paired(rows: Sequence[Mapping[str, Mapping[str, float | None]]], first: str, second: str, measure: str) -> Interval:
    """Return the mean difference of two methods over the objects for which both have the measure."""
    pairs = [(row[first].get(measure), row[second].get(measure)) for row in rows]
    return mean_interval([a - b for a, b in pairs if a is not None and b is not None])


def control_claims(
    rows: Sequence[Mapping[str, Mapping[str, float | None]]],
    method: str,
    higher_is_better: Mapping[str, bool],
) -> list[ControlClaim]:
    """Return whether each control among the methods loses to `method` in the measures where it must.

    Args:
        rows: for each object, its measures by method.
    """
    found = []
    for control in rows[0] if rows else ():
        for measure in REQUIRED.get(control, ()):
            difference = paired(rows, method, control, measure)
            sign = 1 if higher_is_better[measure] else -1
            better = "above" if sign > 0 else "below"
            statement = f"{measure} of {method} is {better} that of {control}"
            found.append(ControlClaim(statement, difference, len(rows), verdict_of(difference, 0.0, sign)))
    return found


def randomisation_claims(similarities: Mapping[str, Mapping[str, Sequence[float]]]) -> list[ControlClaim]:
    """Return whether maps of a network without anything learnt are other ones; a control's must stay.

    Args:
        similarities: by method and stage, from the output to the input; see `randomised_similarities`. A method for
            which no object was compared makes no claim.
    """
    found = []
    for method, by_stage in similarities.items():
        stages = [stage for stage in by_stage if stage != ORIGINAL]
        if not stages:
            continue
        values = by_stage[stages[-1]]
        mean = mean_interval(list(values))
        if method.startswith(CONTROL):
            statement = f"{method} is the same (correlation above {_CHANGED:g}) when all weights are random"
            found.append(ControlClaim(statement, mean, len(values), verdict_of(mean, _CHANGED, 1)))
        else:
            statement = f"{method} is another map (correlation below {_CHANGED:g}) when all weights are random"
            found.append(ControlClaim(statement, mean, len(values), verdict_of(mean, _CHANGED, -1)))
    return found


def verdict_of(measured: Interval, bound: float = 0.0, sign: int = 1) -> str:
    """Return whether a measurement is beyond a bound: above it, or for a sign of -1 below it.

    Returns:
        "holds" or "fails" where the whole interval is on one side; otherwise, and for NaN, "undecided".
    """
    if sign * (measured.low - bound) > 0 and sign * (measured.high - bound) > 0:
        return HOLDS
    if sign * (measured.low - bound) < 0 and sign * (measured.high - bound) < 0:
        return FAILS
    return UNDECIDED
