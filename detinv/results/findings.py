"""The outcome of an experiment, as objects: numbers, tables and figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from detinv.viz.image import Picture

Cell = str | int | float | None
"""Of a table; numbers stay numbers, so that the CSV file has all their digits."""


@dataclass(frozen=True)
class Table:
    """One table, written as `<name>.csv` and into the report.

    Args:
        name: of the file, without ending.
        title: what it shows.
        columns: headings.
        rows: one cell for each heading.
        note: how to read it.
        digits: decimals that the report shows of numbers that are not whole.

    Raises:
        ValueError: when a row has not as many cells as there are headings.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    digits: int = 1

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"table {self.name}: a row of {len(row)} cells under {len(self.columns)} headings")


@dataclass(frozen=True)
class Figure:
    """One picture, written as `<name>.png` and into the report.

    Args:
        name: of the file, without ending.
        title: what it shows.
        picture: RGB, 0 to 255.
        note: how to read it.
    """

    name: str
    title: str
    picture: Picture
    note: str = ""


@dataclass(frozen=True)
class Findings:
    """What an experiment found.

    Args:
        numbers: plain numbers, strings, lists and mappings, ready for JSON: everything a claim is checked against.
        tables, figures: in the order of the report.
        decided: what the paper leaves open and how this run decided it, by subject.
    """

    numbers: Mapping[str, object]
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    decided: Mapping[str, str] = field(default_factory=dict)
