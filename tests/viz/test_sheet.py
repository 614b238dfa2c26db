import numpy as np

from detinv.viz.sheet import SheetRow, sheet


def _block(height: int, width: int, value: int) -> np.ndarray:
    return np.full((height, width, 3), value, dtype=np.uint8)


def _places(page: np.ndarray, value: int) -> tuple[int, int, int, int]:
    """Top, left, height, width of the pixels of one grey value."""
    rows, columns = np.nonzero((page == value).all(-1))
    return rows.min(), columns.min(), np.ptp(rows) + 1, np.ptp(columns) + 1


def test_cells_stand_in_rows_and_columns_whatever_their_sizes():
    # Grey values that neither paper nor ink nor blends of the two have beside each other in blocks.
    cells = [[_block(40, 200, 1), _block(90, 120, 2)], [_block(30, 60, 3), _block(30, 210, 4)]]
    page = sheet(["one", "two"], [SheetRow("a", cells[0]), SheetRow("b", cells[1])], "a note")
    places = {value: _places(page, value) for value in (1, 2, 3, 4)}
    assert [places[value][2:] for value in (1, 2, 3, 4)] == [(40, 200), (90, 120), (30, 60), (30, 210)]
    assert places[1][0] == places[2][0]
    assert places[3][0] == places[4][0]
    assert places[1][1] == places[3][1]
    assert places[2][1] == places[4][1] >= places[1][1] + 210
    assert places[3][0] > places[2][0] + 90


def test_a_note_takes_room_at_the_end():
    rows = [SheetRow("a", [_block(40, 200, 1)])]
    assert sheet(["one"], rows, "a note").shape[0] > sheet(["one"], rows).shape[0]


def test_a_note_wider_than_the_pictures_is_wrapped():
    rows = [SheetRow("a", [_block(40, 200, 1)])]
    note = " ".join(["word"] * 60)
    page = sheet(["one"], rows, note)
    assert page.shape[1] == sheet(["one"], rows).shape[1]
    assert page.shape[0] > sheet(["one"], rows, "word").shape[0]
    # Nothing is cut off: the margins stay empty.
    assert (page[:, :20] == 255).all() and (page[:, -20:] == 255).all()
