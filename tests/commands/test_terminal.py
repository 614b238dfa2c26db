"""Tables in the terminal: numbers stay whole, whatever the width."""

import io
import math

import pytest
from rich.console import Console

from detinv.commands.terminal import terminal_table, tracked
from detinv.results.reports.findings import Table


def told(table, width):
    shown = terminal_table(table, width)
    if shown is None:
        return None
    console = Console(file=io.StringIO(), width=width)
    console.print(shown)
    text = console.file.getvalue()
    assert all(len(line) <= width for line in text.splitlines())
    return text


def matrix(names, rows=3):
    return Table(
        "m", "AP", ("inverted by", *names), [(f"row_number_{k}", *[100.0 - k] * len(names)) for k in range(rows)]
    )


@pytest.mark.parametrize("width", [60, 80, 140])
def test_numbers_and_names_of_rows_stay_whole_while_headings_fold(width):
    text = told(matrix(["shapes_retinanet", "shapes_fasterrcnn", "shapes_maskrcnn, masks", "shapes_fcos"]), width)
    for k in range(3):
        (line,) = (line for line in text.splitlines() if f"row_number_{k} " in line)
        assert line.count(f"{100 - k}.0") == 4
    assert ("shapes_fasterrcnn" in text) == (width == 140)


def test_a_table_that_does_not_fit_is_not_shown():
    table = matrix([f"column {k}" for k in range(12)])
    # A rule and two blanks for each of 13 columns and a last rule; 12 characters of names, five of each number.
    least = 12 + 12 * 5 + 13 * 3 + 1
    assert told(table, least - 1) is None
    assert told(table, least).count("100.0") == 12


@pytest.mark.parametrize("width", [80, 90, 100])
def test_no_number_is_cut_off_where_headings_are_wide(width):
    """The table of figure 4 fits into 80 characters with not one to spare."""
    names = ("images", "objects", "objects found", "images with all objects", "the same and nothing else")
    names = ("detector", "on", *names, "false positives", "AP", "edges at box", "edges at mask")
    row = ("fastestdet", "inverted", 2, 18, 0.11, 0.22, 0.33, 0, 2.44, 0.55, 0.66)
    text = told(Table("success", "What each detector detects", names, [row, row], digits=2), width)
    lines = [line for line in text.splitlines() if "fastestdet" in line]
    assert [line.replace("│", " ").split() for line in lines] == [
        ["fastestdet", "inverted", "2", "18", "0.11", "0.22", "0.33", "0", "2.44", "0.55", "0.66"]
    ] * 2


def test_cells_are_rounded_and_what_is_missing_is_a_dash():
    table = Table(
        "t", "[bold]title", ("name", "n", "[red]value"), [("[x]", 3, 0.12345), ("b", None, math.nan)], digits=2
    )
    text = told(table, 80)
    assert "0.12 " in text and "0.123" not in text and text.count(" - ") == 2
    assert "[bold]title" in text and "[red]value" in text and "[x]" in text


def test_long_tables_are_cut_and_say_so():
    text = told(matrix(["a"], rows=30), 80)
    assert "24 of 30 rows; all are in m.csv" in " ".join(text.split())
    assert "row_number_23" in text and "row_number_24" not in text
    assert "rows; all" not in told(matrix(["a"], rows=24), 80)


def test_long_texts_are_wrapped():
    text = told(Table("t", "t", ("claim", "n"), [("many words " * 12, 3)]), 50)
    assert text.count("many") == 12


def test_a_table_without_rows_has_its_headings():
    assert "two" in told(Table("t", "t", ("one", "two"), []), 40)


@pytest.mark.parametrize(("every", "lines"), [(0.0, ["reading: 0 of 2", "reading: 1 of 2"]), (3600.0, [])])
def test_without_a_terminal_a_line_appears_now_and_then(every, lines):
    console = Console(file=io.StringIO(), width=80)
    assert list(tracked(console, [5, 7], "reading", every)) == [5, 7]
    assert console.file.getvalue().splitlines() == lines


def test_in_a_terminal_a_bar_is_drawn():
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    assert list(tracked(console, [5, 7], "reading")) == [5, 7]
    assert "100%" in console.file.getvalue()
