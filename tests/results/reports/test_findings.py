"""Findings as objects: what cannot be written is refused when it is made."""

import numpy as np
import pytest

from detinv.results.reports.findings import Figure, Findings, Table

PICTURE = np.zeros((2, 3, 3), np.uint8)


def test_a_row_needs_a_cell_for_each_heading() -> None:
    with pytest.raises(ValueError, match="table t: a row of 1 cells under 2 headings"):
        Table("t", "title", ("a", "b"), [(1, 2), (1,)])


def test_two_headings_alike_would_share_a_column() -> None:
    with pytest.raises(ValueError, match="table t: headings: two are called 'a'"):
        Table("t", "title", ("a", "b", "a"), [(1, 2, 3)])


def test_two_parts_alike_would_share_a_file() -> None:
    table, figure = Table("t", "title", ("a",), []), Figure("f", "title", PICTURE)
    with pytest.raises(ValueError, match="tables: two are called 't'"):
        Findings({}, tables=[table, table])
    with pytest.raises(ValueError, match="figures: two are called 'f'"):
        Findings({}, figures=[figure, Figure("f", "another", PICTURE)])
    # A table and a figure have endings of their own.
    assert Findings({}, [table], [Figure("t", "title", PICTURE)]).decided == {}
