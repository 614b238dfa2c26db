"""Tables and charts of measured methods."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from detinv.attribution.metrics.object_set import EXCLUSIONS
from detinv.experiments.attribution.controls import ControlClaim, paired
from detinv.metrics.intervals import Interval, mean_interval
from detinv.results.reports.findings import Cell, Figure, Table
from detinv.viz.charts import lines

Measures = Mapping[str, Mapping[str, float | None]]
"""Of one object, by method and measure; None where a measure is not defined."""
_COUNTED = {
    "considered": "detections considered",
    **EXCLUSIONS,
    "no raw prediction": "its raw prediction is not known",
    "explained": "explained",
}
_FAITHFUL = ("insertion", "deletion", "insertion_normalised", "deletion_normalised")


def summarised(
    rows: Sequence[Measures], methods: Iterable[str], measures: Iterable[str]
) -> dict[str, dict[str, Interval]]:
    """Return mean and interval of each measure, by method; over the objects for which it is defined."""
    names = list(measures)
    return {
        method: {
            name: mean_interval([value for row in rows if (value := row[method].get(name)) is not None])
            for name in names
        }
        for method in methods
    }


def method_table(numbers: Mapping[str, Mapping[str, Any]], better: Mapping[str, bool]) -> Table:
    """Return method by measure, with intervals."""
    known = [
        name
        for name in better
        if any(one[name].value == one[name].value for found in numbers.values() for one in found["methods"].values())
    ]
    rows: list[tuple[Cell, ...]] = [
        (label, method, found["objects"], *(interval_text(values[name]) for name in known))
        for label, found in numbers.items()
        for method, values in found["methods"].items()
    ]
    headings = [f"{name.replace('_', ' ')} {'↑' if better[name] else '↓'}" for name in known]
    note = "Mean over the objects, with intervals of 95 %. ↑: higher is better; ↓: lower is better."
    return Table("methods", "Methods and measures", ("detector", "method", "objects", *headings), rows, note)


def difference_table(
    rows: Mapping[str, Sequence[Measures]], methods: Iterable[str], better: Mapping[str, bool]
) -> Table:
    """Return how much better the first method is than each other one, object by object."""
    first, *others = methods
    cells: list[tuple[Cell, ...]] = []
    for label, found in rows.items():
        for other in others:
            values = []
            for name in _FAITHFUL:
                difference = paired(found, first, other, name)
                values.append(interval_text(difference if better[name] else _negative(difference)))
            cells.append((label, other, *values))
    headings = [name.replace("_", " ") for name in _FAITHFUL]
    note = f"Paired differences over the objects, with intervals of 95 %; above zero, {first} is the better one."
    return Table("differences", f"How much better {first} is", ("detector", "than", *headings), cells, note)


def faithfulness_table(label: str, found: Mapping[str, Mapping[str, Interval]]) -> Table:
    """Return insertion and deletion of one detector's methods, narrow enough for a terminal."""
    rows: list[tuple[Cell, ...]] = [
        (method, interval_text(values["insertion"]), interval_text(values["deletion"]))
        for method, values in found.items()
    ]
    columns = ("method", "insertion ↑", "deletion ↓")
    note = "Means over the objects, with intervals of 95 %. ↑: higher is better; ↓: lower is better."
    return Table(f"faithfulness_{label}", f"{label}: insertion and deletion", columns, rows, note)


def claim_table(label: str, claims: Sequence[ControlClaim]) -> Table:
    """Return the claims about one detector with what was measured."""
    rows: list[tuple[Cell, ...]] = [(one.statement, interval_text(one.measured), one.n, one.verdict) for one in claims]
    note = "A claim holds, or fails, where the whole interval of 95 % is on one side."
    columns = ("claim", "measured", "objects", "verdict")
    return Table(f"controls_{label}", f"{label}: what controls show", columns, rows, note)


def exclusion_table(numbers: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return how many detections were left out, and why."""
    rows: list[tuple[Cell, ...]] = [
        (label, what, found["counts"].get(name, 0))
        for label, found in numbers.items()
        for name, what in _COUNTED.items()
    ]
    return Table("objects", "Which objects count", ("detector", "detections", "number"), rows)


def similarity_chart(similar: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]) -> list[Figure]:
    """Return a chart of each detector: how alike maps stay as its weights become random."""
    figures = []
    for label, by_method in similar.items():
        series = {
            method: [(float(place), mean_interval(list(values))) for place, values in enumerate(by_stage.values())]
            for method, by_stage in by_method.items()
        }
        names = list(next(iter(by_method.values()), {}))
        if names:
            picture = lines(series, place_title="stages that are random", value_title="rank correlation")
            note = "From left to right: " + ", ".join(names) + ", each together with those before it."
            figures.append(Figure(f"randomised_{label}", f"Maps of {label} as weights become random", picture, note))
    return figures


def interval_text(interval: Interval, digits: int = 3) -> str:
    """Return a value with its interval; a dash where it is not defined."""
    if interval.value != interval.value:
        return "-"
    value, low, high = (f"{number:.{digits}f}" for number in interval)
    return f"{value} [{low}, {high}]"


def _negative(interval: Interval) -> Interval:
    return Interval(-interval.value, -interval.high, -interval.low)
