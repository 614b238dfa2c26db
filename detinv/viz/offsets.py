"""Positions of objects around a subject: one panel per subject, with the subject at its centre."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from detinv.viz.image import Picture
from detinv.viz.palette import class_colour, hex_code

_DPI = 110
_PANEL, _COLUMNS = 2.5, 4
_AXIS, _INK = "#b6b6be", "#18181b"


def offset_panels(
    subjects: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]], names: Sequence[str], reach: float
) -> Picture:
    """Plot points around the centre of each panel, one colour per name.

    Args:
        subjects: for each subject and each name, offsets (x, y) from the subject's centre, y downwards as in images.
        names: all possible names; the position of a name gives its colour, the same as that of a class's boxes.
        reach: half the side of a panel, in the units of the offsets.

    Raises:
        ValueError: if there is no subject.
    """
    if not subjects:
        raise ValueError("offsets need at least one subject")
    columns = min(_COLUMNS, len(subjects))
    rows = -(-len(subjects) // columns)
    figure = Figure(figsize=(0.4 + _PANEL * columns, 0.6 + (_PANEL + 0.25) * rows), dpi=_DPI, layout="constrained")
    drawn: dict[str, PathCollection] = {}
    for number, (subject, found) in enumerate(subjects.items()):
        axes = figure.add_subplot(rows, columns, number + 1)
        axes.axhline(0, color=_AXIS, linewidth=0.8)
        axes.axvline(0, color=_AXIS, linewidth=0.8)
        for name, points in found.items():
            if points:
                places = np.asarray(points, dtype=float)
                colour = hex_code(class_colour(names.index(name)))
                drawn[name] = axes.scatter(
                    places[:, 0], places[:, 1], s=26, color=colour, edgecolors=_INK, linewidths=0.5, alpha=0.85
                )
        axes.set_xlim(-reach, reach)
        # The y axis points downwards, as in images.
        axes.set_ylim(reach, -reach)
        axes.set_aspect("equal")
        axes.tick_params(labelsize=7)
        axes.set_title(subject, fontsize=10)
    if drawn:
        order = sorted(drawn, key=list(names).index)
        figure.legend(
            [drawn[name] for name in order], order, loc="outside lower center", ncols=8, frameon=False, fontsize=9
        )
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
