"""The outcome of an experiment: numbers, tables and figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from detinv.viz.image import Picture

Cell = str | int | float | None
"""A value in a table; numbers stay numbers, so that the CSV file has all their digits."""


@dataclass(frozen=True)
class Table:
    """One table, written as `<name>.csv` and into the report.

    Args:
        name: name of the file, without ending.
        title: heading in the report.
        columns: headings, all different.
        rows: one cell per heading.
        note: how to read it.
        digits: number of decimals in the report, for numbers that are not integers.

    Raises:
        ValueError: when a row does not have one cell per heading, or two headings are the same.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    digits: int = 1

    def __post_init__(self) -> None:
        _check_distinct(f"table {self.name}: headings", self.columns)
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"table {self.name}: a row of {len(row)} cells under {len(self.columns)} headings")


@dataclass(frozen=True)
class Figure:
    """One picture, written as `<name>.png` and into the report.

    Args:
        name: name of the file, without ending.
        title: heading in the report.
        picture: RGB, 0 to 255.
        note: how to read it.
    """

    name: str
    title: str
    picture: Picture
    note: str = ""


@dataclass(frozen=True)
class Findings:
    """The outcome of an experiment.

    Args:
        numbers: plain numbers, strings, lists and mappings, ready for JSON: everything that claims are checked against.
        tables, figures: in the order of the report.
        decided: decisions on what the paper leaves open, by subject.

    Raises:
        ValueError: when two tables, or two figures, would be written to the same file.
    """

    numbers: Mapping[str, object]
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    decided: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_distinct("tables", [table.name for table in self.tables])
        _check_distinct("figures", [figure.name for figure in self.figures])


def _check_distinct(what: str, names: Sequence[str]) -> None:
    twice = [name for name in names if list(names).count(name) > 1]
    if twice:
        raise ValueError(f"{what}: two are called {twice[0]!r}")
