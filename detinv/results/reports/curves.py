"""Loss curves as inline SVG.

The chart is drawn here rather than by Matplotlib because its colours follow the page's light or dark style and its
lines show their term when pointed at; Matplotlib chooses the ticks.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.ticker import LogLocator, MaxNLocator

from detinv.results.reports.html import render_macro

_WIDTH, _HEIGHT = 860, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 12, 12, 38
# More points than this cannot be told apart on a screen.
_MOST_POINTS = 400
# If the values span more than this factor, a linear axis hides the small ones.
_LOG_RATIO = 20.0
# The style sheet defines as many line colours.
_COLOURS = 8
Number = int | float


@dataclass(frozen=True)
class Curve:
    """One loss term over the steps.

    Args:
        term: its name.
        points: (step, value), by ascending step; finite.
    """

    term: str
    points: tuple[tuple[Number, Number], ...]


def line_colour(number: int) -> str:
    """Return the CSS colour of curve `number`, counted from 0; colours repeat after eight."""
    return f"var(--line-{number % _COLOURS})"


def loss_curves(losses: Sequence[Mapping[str, Number]]) -> list[Curve]:
    """Return one curve per term: at each step the mean over all batches that logged a finite value.

    Args:
        losses: rows with "step", "batch" and the terms, in any order.
    """
    values_of: dict[str, dict[float, list[float]]] = {}
    for row in losses:
        for term, value in row.items():
            if term not in ("step", "batch") and math.isfinite(value):
                values_of.setdefault(term, {}).setdefault(row["step"], []).append(value)
    curves = []
    for term, steps in values_of.items():
        curves.append(Curve(term, tuple((step, sum(values) / len(values)) for step, values in sorted(steps.items()))))
    return curves


def curves_svg(curves: Sequence[Curve]) -> str:
    """Draw the curves over a common step axis; the value axis is logarithmic if values span more than a factor of 20.

    On a logarithmic axis a curve has gaps where it is not positive. No curves give an empty text.
    """
    points = [point for curve in curves for point in curve.points]
    if not points:
        return ""
    values = [value for _, value in points]
    positive = [value for value in values if value > 0]
    # Zeros (a term that is not active yet) do not rule out a logarithmic axis; negative values do.
    logarithmic = min(values) >= 0 and len(positive) > 1 and max(positive) > _LOG_RATIO * min(positive)
    axis = _log_axis(positive) if logarithmic else _linear_axis(values)
    steps = _StepAxis(min(step for step, _ in points), max(step for step, _ in points))
    return render_macro(
        "curves.html",
        "chart",
        width=_WIDTH,
        height=_HEIGHT,
        left=_LEFT,
        right=_WIDTH - _RIGHT,
        base=_HEIGHT - _BOTTOM,
        scale="logarithmic" if logarithmic else "linear",
        value_ticks=[_Tick(value, axis.place(value)) for value in axis.ticks],
        step_ticks=[_Tick(step, steps.place(step)) for step in _linear_ticks(steps.first, steps.last, 8)],
        lines=[line for number, curve in enumerate(curves) for line in _lines(number, curve, axis, steps)],
    )


@dataclass(frozen=True)
class _Tick:
    value: Number
    place: Number


@dataclass(frozen=True)
class _Line:
    """A piece of a curve without a gap: points (x, y) on the chart."""

    term: str
    colour: str
    points: Sequence[tuple[Number, Number]]


@dataclass(frozen=True)
class _StepAxis:
    first: Number
    last: Number

    def place(self, step: Number) -> Number:
        return _LEFT + (step - self.first) / max(self.last - self.first, 1e-9) * (_WIDTH - _LEFT - _RIGHT)


@dataclass(frozen=True)
class _ValueAxis:
    low: Number
    high: Number
    ticks: Sequence[Number]
    logarithmic: bool

    def place(self, value: Number) -> Number:
        low, high, value = (math.log10(v) if self.logarithmic else v for v in (self.low, self.high, value))
        return _TOP + (high - value) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)


def _log_axis(positive: Sequence[Number]) -> _ValueAxis:
    high = max(positive)
    # Values far below all others would flatten the rest.
    low = max(min(positive), high * 1e-8) / 1.15
    high *= 1.15
    subs = (1.0,) if math.log10(high / low) > 3 else (1.0, 2.0, 5.0)
    ticks = LogLocator(subs=subs, numticks=9).tick_values(low, high)
    return _ValueAxis(low, high, [tick for tick in map(float, ticks) if low <= tick <= high], True)


def _linear_axis(values: Sequence[Number]) -> _ValueAxis:
    low, high = min(0.0, *values), max(0.0, *values)
    if low == high:
        high = 1.0
    margin = 0.04 * (high - low)
    return _ValueAxis(low - margin * (low < 0), high + margin, _linear_ticks(low, high, 6), False)


def _linear_ticks(low: Number, high: Number, most: int) -> list[Number]:
    """Return at most `most` + 1 round numbers from `low` to `high`."""
    ticks = MaxNLocator(most, steps=[1, 2, 5, 10]).tick_values(low, high)
    edge = 1e-9 * (high - low)
    return [tick for tick in map(float, ticks) if low - edge <= tick <= high + edge] if high > low else [low]


def _lines(number: int, curve: Curve, axis: _ValueAxis, steps: _StepAxis) -> list[_Line]:
    thinned = curve.points[:: -(-len(curve.points) // _MOST_POINTS)]
    if thinned[-1:] != curve.points[-1:]:
        thinned = (*thinned, curve.points[-1])
    pieces: list[list[tuple[Number, Number]]] = [[]]
    for step, value in thinned:
        if axis.logarithmic and value < axis.low:
            pieces.append([])
        else:
            pieces[-1].append((steps.place(step), axis.place(value)))
    return [_Line(curve.term, line_colour(number), piece) for piece in pieces if piece]
