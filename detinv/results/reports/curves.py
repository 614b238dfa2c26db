"""Loss curves as inline SVG."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from detinv.results.reports.escape import escaped

_WIDTH, _HEIGHT = 860, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 12, 12, 38
# More points than this cannot be told apart on a screen.
_MOST_POINTS = 400
# From this ratio between the largest and smallest value on, a linear axis hides the small ones.
_LOG_RATIO = 20.0
Number = int | float

COLOURS = 8
"""Number of line colours: the page's style sheet defines `--line-0` and on."""


@dataclass(frozen=True)
class Curve:
    """One loss term over the steps.

    Args:
        term: its name.
        points: (step, value), ascending, finite.
    """

    term: str
    points: tuple[tuple[Number, Number], ...]


def loss_curves(losses: Sequence[Mapping[str, Number]]) -> list[Curve]:
    """One curve per term: at each step the mean over all batches that logged it; only finite values count.

    Args:
        losses: rows with "step", "batch" and the terms, in any order.
    """
    gathered: dict[str, dict[float, list[float]]] = {}
    for row in losses:
        for term, value in row.items():
            if term not in ("step", "batch") and math.isfinite(value):
                gathered.setdefault(term, {}).setdefault(row["step"], []).append(value)
    curves = []
    for term, steps in gathered.items():
        curves.append(Curve(term, tuple((step, sum(values) / len(values)) for step, values in sorted(steps.items()))))
    return curves


def curves_svg(curves: Sequence[Curve]) -> str:
    """The curves over a common step axis; the value axis is logarithmic if the values span more than a factor of 20.

    On a logarithmic axis a curve has gaps where it is not positive. No curves give an empty text.
    """
    points = [point for curve in curves for point in curve.points]
    if not points:
        return ""
    values = [value for _, value in points]
    positive = [value for value in values if value > 0]
    # A few zeros (a term not yet active) do not forbid the logarithm; negative values do.
    logarithmic = min(values) >= 0 and len(positive) > 1 and max(positive) > _LOG_RATIO * min(positive)
    axis = _log_axis(positive) if logarithmic else _linear_axis(values)
    first, last = min(step for step, _ in points), max(step for step, _ in points)
    steps = _linear_ticks(first, last, 8)

    def x(step: Number) -> Number:
        return _LEFT + (step - first) / max(last - first, 1e-9) * (_WIDTH - _LEFT - _RIGHT)

    parts = [
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="loss terms over the steps, '
        f'{"logarithmic" if logarithmic else "linear"} scale">'
    ]
    for tick in axis.ticks:
        y = axis.place(tick)
        parts.append(f'<line class="rule" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    base = _HEIGHT - _BOTTOM
    parts.append(f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{base}" y2="{base}"/>')
    for step in steps:
        parts.append(f'<line class="axis" x1="{x(step):.1f}" x2="{x(step):.1f}" y1="{base}" y2="{base + 5}"/>')
        anchor = "end" if x(step) > _WIDTH - 30 else "middle"
        parts.append(f'<text x="{x(step):.1f}" y="{base + 19}" text-anchor="{anchor}">{step:g}</text>')
    parts.append(f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 3}" text-anchor="middle">step</text>')
    for number, curve in enumerate(curves):
        parts.extend(_line(number, curve, axis, x, logarithmic))
    return "".join([*parts, "</svg>"])


@dataclass(frozen=True)
class _Axis:
    low: Number
    high: Number
    ticks: tuple[Number, ...]
    logarithmic: bool

    def place(self, value: Number) -> Number:
        low, high, value = (math.log10(v) if self.logarithmic else v for v in (self.low, self.high, value))
        return _TOP + (high - value) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)


def _log_axis(positive: Sequence[Number]) -> _Axis:
    # Values far below all others would flatten the rest.
    high = max(positive)
    low = max(min(positive), high * 1e-8)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    factors = (1,) if last - first > 3 else (1, 2, 5)
    every = max(1, round((last - first) / 8))
    ticks = [10.0**power * factor for power in range(first, last + 1, every) for factor in factors]
    low, high = low / 1.15, high * 1.15
    return _Axis(low, high, tuple(tick for tick in ticks if low <= tick <= high), True)


def _linear_axis(values: Sequence[Number]) -> _Axis:
    low, high = min(0.0, *values), max(0.0, *values)
    if low == high:
        high = 1.0
    room = 0.04 * (high - low)
    return _Axis(low - room * (low < 0), high + room, _linear_ticks(low, high, 6), False)


def _linear_ticks(low: Number, high: Number, most: int) -> tuple[Number, ...]:
    """Round numbers from `low` to `high`, at most `most` + 1."""
    if high <= low:
        return (low,)
    raw = (high - low) / most
    unit = 10.0 ** math.floor(math.log10(raw))
    spacing = next(factor * unit for factor in (1, 2, 5, 10) if factor * unit >= raw * (1 - 1e-9))
    first = math.ceil(low / spacing - 1e-9)
    count = math.floor(high / spacing + 1e-9) - first + 1
    return tuple(round((first + k) * spacing, 12) for k in range(count))


def _line(number: int, curve: Curve, axis: _Axis, x: Callable[[Number], Number], logarithmic: bool) -> list[str]:
    thinned = curve.points[:: -(-len(curve.points) // _MOST_POINTS)]
    if thinned and thinned[-1] != curve.points[-1]:
        thinned = (*thinned, curve.points[-1])
    runs: list[list[str]] = [[]]
    for step, value in thinned:
        if logarithmic and value < axis.low:
            runs.append([])
        else:
            runs[-1].append(f"{x(step):.1f},{axis.place(value):.1f}")
    title = f"<title>{escaped(curve.term)}</title>"
    colour = f"var(--line-{number % COLOURS})"
    lines = []
    for run in filter(None, runs):
        if len(run) == 1:
            px, py = run[0].split(",")
            lines.append(f'<circle cx="{px}" cy="{py}" r="2.5" style="fill:{colour}">{title}</circle>')
        else:
            lines.append(f'<polyline points="{" ".join(run)}" style="stroke:{colour}">{title}</polyline>')
    return lines
