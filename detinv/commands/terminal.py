"""Results in the terminal: every number legible, every name printed literally."""

import time
from collections.abc import Iterator, Sequence

from rich.cells import cell_len
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
    longest = [max((cell_len(printable(row[k])) for row in rows), default=1) for k in range(len(table.columns))]
    least = [min(_UNBROKEN, length) for length in longest]
    room = width - _FRAME * len(least) - 1
    if sum(least) > room:
        return None
    most = [max(length, cell_len(printable(name))) for length, name in zip(longest, table.columns, strict=True)]
    columns = []
    for k, (name, wide) in enumerate(zip(table.columns, _widths(least, most, room), strict=True)):
        numbers = all(row[k] is None or isinstance(row[k], int | float) for row in table.rows)
        columns.append(Column(literal(name), justify="right" if numbers else "left", overflow="fold", width=wide))
    shown = ConsoleTable(*columns, title=literal(table.title))
    for row in rows:
        shown.add_row(*map(literal, row))
    if len(table.rows) > _SHOWN:
        shown.caption = f"{_SHOWN} of {len(table.rows)} rows; all are in {table.name}.csv"
    return shown


def _widths(least: Sequence[int], most: Sequence[int], room: int) -> list[int]:
    """Divide the room among columns: each has its least, and the narrowest grow first, until they have their most."""
    widths = list(least)
    for _ in range(room - sum(least)):
        growing = [k for k, wide in enumerate(widths) if wide < most[k]]
        if not growing:
            break
        widths[min(growing, key=widths.__getitem__)] += 1
    return widths


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
