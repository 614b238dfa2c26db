"""Tables as pages show them: text, and how it is set."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real

NO_VALUE = "\N{EN DASH}"
"""Stands in a cell for which there is no number."""


@dataclass(frozen=True)
class PageCell:
    """One cell, or one heading.

    Args:
        text: is escaped.
        kind: style class: "number" (flush right), "text" (a text in a column of numbers), "faint", or "".
        swatch: CSS colour of a small square before the text.
        stroke: CSS colour of a short line before the text.
    """

    text: str
    kind: str = ""
    swatch: str = ""
    stroke: str = ""


@dataclass(frozen=True)
class PageTable:
    """Headings, and rows with one cell for each of them."""

    headings: Sequence[PageCell]
    rows: Sequence[Sequence[PageCell]]


def number_cells(texts: Sequence[str]) -> list[PageCell]:
    """Return cells, or headings, of columns of numbers."""
    return [PageCell(text, "number") for text in texts]


def percent_text(value: object) -> str:
    """Return a percentage with one decimal, so that columns line up; other values as `number_text` does."""
    return f"{float(value):.1f}" if isinstance(value, Real) and not math.isnan(value) else number_text(value)


def number_text(value: object) -> str:
    """Return a number with three digits or one decimal, whole numbers as they are, and a dash for None and NaN."""
    if value is None:
        return NO_VALUE
    if isinstance(value, bool) or not isinstance(value, Real):
        return str(value)
    number = float(value)
    if math.isnan(number):
        return NO_VALUE
    if abs(number) < 1e15 and number == int(number):
        return str(int(number))
    return f"{number:.1f}" if abs(number) >= 10 else f"{number:.3g}"


def flat_names(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Return nested values under names such as `versions torch`."""
    flat: dict[str, object] = {}
    for key, value in values.items():
        flat |= flat_names(value, f"{prefix}{key} ") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
