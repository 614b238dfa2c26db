"""Results in the terminal: every number legible, every name printed literally."""

import time
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Column
from rich.table import Table as ConsoleTable

from detinv.inputs.printable import printable
from detinv.results.reports.findings import Cell, Table

# Rows that are shown; the CSV files and the report have all.
_SHOWN = 24
# Characters of a cell that stay on one line; longer texts are wrapped.
_UNBROKEN = 24
# Rule and padding of a column.
_FRAME = 3


def console(quiet: bool = False) -> Console:
    """Return the terminal; a name such as `:star:` is printed as it is.

    Args:
        quiet: print nothing.
    """
    return Console(emoji=False, quiet=quiet)


def tracked(terminal: Console, numbers: Sequence[int], what: str, every_n_seconds: float = 30.0) -> Iterator[int]:
    """Yield the numbers, and show how far they are: a bar in a terminal, elsewhere a line now and then.

    Args:
        what: in front of the bar or line.
        every_n_seconds: between two lines.
    """
    if terminal.is_terminal or terminal.is_jupyter:
        yield from track(numbers, what, console=terminal)
        return
    said = time.monotonic()
    for done, number in enumerate(numbers):
        if time.monotonic() - said >= every_n_seconds:
            said = time.monotonic()
            terminal.print(f"{what}: {done} of {len(numbers)}", highlight=False, soft_wrap=True)
        yield number


def literal(text: object) -> str:
    """Escape `text` so that the terminal prints it literally, without markup, colours or invisible characters."""
    return escape(printable(str(text)))


def terminal_table(table: Table, width: int) -> ConsoleTable | None:
    """Lay out a table for the terminal; headings are folded where there is little room, numbers never.

    Args:
        width: of the terminal, in characters.

    Returns:
        None when the numbers do not fit.
    """
    rows = [[_shown(cell, table.digits) for cell in row] for row in table.rows[:_SHOWN]]
    least = [min(_UNBROKEN, max((len(row[k]) for row in rows), default=1)) for k in range(len(table.columns))]
    if sum(least) + _FRAME * len(least) + 1 > width:
        return None
    columns = []
    for k, name in enumerate(table.columns):
        numbers = all(row[k] is None or isinstance(row[k], int | float) for row in table.rows)
        columns.append(
            Column(
                literal(name),
                justify="right" if numbers else "left",
                overflow="fold",
                min_width=least[k],
                # Of all columns these are the last that rich makes narrower.
                no_wrap=not numbers and least[k] < _UNBROKEN,
            )
        )
    shown = ConsoleTable(*columns, title=literal(table.title))
    for row in rows:
        shown.add_row(*map(literal, row))
    if len(table.rows) > _SHOWN:
        shown.caption = f"{_SHOWN} of {len(table.rows)} rows; all are in {table.name}.csv"
    return shown


def narrow_table(table: Table, rows: int | None = None) -> ConsoleTable:
    """Lay out a table without rules, for terminals of 80 columns.

    Args:
        rows: most that are shown; by default all.
    """
    columns = [Column(literal(name), justify="right" if place else "left") for place, name in enumerate(table.columns)]
    shown = ConsoleTable(*columns, title=literal(table.title), title_justify="left", box=None, padding=(0, 2, 0, 0))
    for row in table.rows[:rows]:
        shown.add_row(*(literal(_shown(cell, table.digits)) for cell in row))
    return shown


def _shown(cell: Cell, digits: int) -> str:
    if cell is None or cell != cell:
        return "-"
    return f"{cell:.{digits}f}" if isinstance(cell, float) else str(cell)
