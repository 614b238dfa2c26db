"""Charts of experiments as pictures: heat maps, bars with intervals, lines."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from detinv.viz.image import Picture
from detinv.viz.text import in_dejavu

_DPI = 110
# Letters of all group names together that fit into one line.
_LEVEL = 40
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b0498a", "#8a6d00", "#3d9bd0", "#7a56c2", "#18181b")
Interval = tuple[float, float, float]
"""Value, low end, high end."""


def heat_map(
    values: Sequence[Sequence[float | None]],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title: str = "",
    row_title: str = "",
    column_title: str = "",
    limits: tuple[float, float] = (0.0, 100.0),
) -> Picture:
    """Draw a matrix of numbers as colours, each number written into its cell; a cell without a number stays empty.

    Args:
        values: one list per row with one number per column; None or NaN for no number.
        rows, columns: names.
        title, row_title, column_title: texts above the matrix and at its axes.
        limits: values with the darkest and the lightest colour.

    Raises:
        ValueError: when there are not as many numbers as names.
    """
    widths = sorted({len(row) for row in values} or {len(columns)})
    if len(values) != len(rows) or widths != [len(columns)]:
        shape = " or ".join(map(str, widths))
        raise ValueError(f"{len(values)} rows of {shape} numbers for {len(rows)} x {len(columns)} names")
    matrix = np.array([[np.nan if cell is None else cell for cell in row] for row in values], dtype=float)
    figure = Figure(figsize=(1.7 + 0.95 * len(columns), 1.5 + 0.48 * len(rows)), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    if matrix.size:
        axes.imshow(matrix, cmap="cividis", vmin=limits[0], vmax=limits[1], aspect="auto")
    axes.set_xticks(range(len(columns)), map(_written, columns), rotation=25, ha="right", fontsize=9)
    axes.set_yticks(range(len(rows)), map(_written, rows), fontsize=9)
    axes.set_xlabel(column_title)
    axes.set_ylabel(row_title)
    axes.set_title(_written(title), fontsize=10)
    middle = (limits[0] + limits[1]) / 2
    for row, column in np.argwhere(np.isfinite(matrix)):
        value = matrix[row, column]
        ink = "white" if value < middle else "black"
        axes.text(column, row, f"{value:.1f}", ha="center", va="center", fontsize=9, color=ink)
    return _picture(figure)


def bars(
    series: Mapping[str, Mapping[str, Interval]],
    *,
    title: str = "",
    value_title: str = "",
    limits: tuple[float, float] | None = None,
    line: float | None = None,
) -> Picture:
    """Draw groups of bars with their intervals.

    Args:
        series: intervals by series and group; groups keep the order in which they first appear. Infinite ones are not
            drawn.
        title, value_title: texts above the chart and at its value axis.
        limits: ends of the value axis.
        line: a value to compare with, drawn as a dashed line.
    """
    groups = list(dict.fromkeys(group for values in series.values() for group in values))
    figure = Figure(figsize=(max(5.0, 1.2 + 0.5 * len(groups) * max(1, len(series)) ** 0.7), 3.6), dpi=_DPI)
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot()
    width = 0.8 / max(len(series), 1)
    for number, (name, values) in enumerate(series.items()):
        places = [k + (number - (len(series) - 1) / 2) * width for k, group in enumerate(groups) if group in values]
        triples = np.array([values[group] for group in groups if group in values], dtype=float).reshape(-1, 3)
        reach = np.clip(np.stack([triples[:, 0] - triples[:, 1], triples[:, 2] - triples[:, 0]]), 0, None)
        axes.bar(
            places, triples[:, 0], width * 0.92, yerr=np.nan_to_num(reach, posinf=0), capsize=2,
            color=_COLOURS[number % len(_COLOURS)], label=_written(name), error_kw={"elinewidth": 1},
        )  # fmt: skip
    if line is not None:
        axes.axhline(line, color="#62626c", linewidth=1, linestyle="--")
    axes.axhline(0, color="#18181b", linewidth=0.8)
    named = [_written(group) for group in groups]
    turned = len(groups) > 4 or sum(map(len, named)) > _LEVEL
    axes.set_xticks(range(len(groups)), named, rotation=25 if turned else 0, ha="right" if turned else "center")
    axes.set_ylabel(value_title)
    axes.set_title(_written(title), fontsize=10)
    if limits is not None:
        axes.set_ylim(*limits)
    axes.spines[["top", "right"]].set_visible(False)
    if len(series) > 1:
        # Outside the axes: inside them it would cover bars.
        figure.legend(frameon=False, fontsize=8, ncols=len(series), loc="outside upper right")
    return _picture(figure)


def lines(
    series: Mapping[str, Sequence[tuple[float, Interval]]],
    *,
    title: str = "",
    place_title: str = "",
    value_title: str = "",
    logarithmic: bool = False,
) -> Picture:
    """Draw lines through values, with their intervals as bands.

    Args:
        series: by name, pairs of a position on the x axis and a value with its interval.
        title, place_title, value_title: texts above the chart and at its axes.
        logarithmic: use a base-2 logarithmic x axis, for sizes.
    """
    figure = Figure(figsize=(5.6, 3.6), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    for number, (name, points) in enumerate(series.items()):
        places = [place for place, _ in points]
        triples = np.array([value for _, value in points], dtype=float).reshape(-1, 3)
        colour = _COLOURS[number % len(_COLOURS)]
        axes.plot(places, triples[:, 0], marker="o", markersize=4, color=colour, label=_written(name))
        axes.fill_between(places, triples[:, 1], triples[:, 2], color=colour, alpha=0.18, linewidth=0)
    marked = sorted({place for points in series.values() for place, _ in points})
    if logarithmic and marked:
        axes.set_xscale("log", base=2)
        axes.set_xticks(marked, [f"{place:g}" for place in marked])
        axes.set_xticks([], minor=True)
        # Matplotlib finds no limits of its own where every value is missing.
        axes.set_xlim(marked[0] / 1.15, marked[-1] * 1.15)
    axes.axhline(0, color="#62626c", linewidth=0.8)
    axes.set_xlabel(place_title)
    axes.set_ylabel(value_title)
    axes.set_title(_written(title), fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    if len(series) > 1:
        axes.legend(frameon=False, fontsize=8)
    return _picture(figure)


def _written(name: str) -> str:
    # Between two dollars, Matplotlib would read mathematics.
    return in_dejavu(name).replace("$", r"\$")


def _picture(figure: Figure) -> Picture:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
