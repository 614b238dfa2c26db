"""A sheet of pictures in rows and columns, with headings and row titles."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from detinv.viz.image import Picture
from detinv.viz.text import font, legible, line_height, shorten, text_width, wrap

_PAPER, _INK, _FAINT, _RULE = (255, 255, 255), (24, 24, 27), (100, 100, 110), (225, 225, 230)
_MARGIN, _GAP, _ROW_GAP = 24, 16, 26
_HEADER_SIZE, _NOTE_SIZE = 16, 14
# Narrower columns than this leave no room for their headings.
_LEAST_COLUMN = 176


@dataclass(frozen=True)
class SheetRow:
    """Pictures side by side below a title line."""

    title: str
    cells: Sequence[Picture]

    @property
    def height(self) -> int:
        """Height of the tallest picture, in pixels."""
        return max(cell.shape[0] for cell in self.cells)


def sheet(headings: Sequence[str], rows: Sequence[SheetRow], note: str = "") -> Picture:
    """Arrange pictures in columns of equal width below headings, with a title above every row and a note at the end.

    Args:
        headings: one per column; long ones are wrapped.
        rows: with one picture per column, of any size.
        note: text below all rows, centred; wrapped where it is wider than they are.
    """
    column = max([_LEAST_COLUMN, *(cell.shape[1] for row in rows for cell in row.cells)])
    wrapped = [wrap(legible(heading), _HEADER_SIZE, column) for heading in headings]
    header = max(len(lines) for lines in wrapped) * line_height(_HEADER_SIZE)
    title = line_height(_NOTE_SIZE) + 4
    width = 2 * _MARGIN + len(headings) * (column + _GAP) - _GAP
    height = 2 * _MARGIN + header + sum(_ROW_GAP + title + row.height for row in rows)
    below = wrap(legible(note), _NOTE_SIZE, width - 2 * _MARGIN) if note else []
    if below:
        height += _ROW_GAP + len(below) * line_height(_NOTE_SIZE)

    page = Image.new("RGB", (width, height), _PAPER)
    drawing = ImageDraw.Draw(page)
    for number, lines in enumerate(wrapped):
        for k, line in enumerate(lines):
            place = (_MARGIN + number * (column + _GAP), _MARGIN + k * line_height(_HEADER_SIZE))
            drawing.text(place, line, fill=_INK, font=font(line, _HEADER_SIZE))
    top = _MARGIN + header
    for row in rows:
        drawing.line((_MARGIN, top + _ROW_GAP // 2 - 3, width - _MARGIN, top + _ROW_GAP // 2 - 3), fill=_RULE)
        top += _ROW_GAP
        text = shorten(legible(row.title), _NOTE_SIZE, width - 2 * _MARGIN)
        drawing.text((_MARGIN, top), text, fill=_FAINT, font=font(text, _NOTE_SIZE))
        top += title
        for number, cell in enumerate(row.cells):
            page.paste(Image.fromarray(cell), (_MARGIN + number * (column + _GAP), top))
        top += row.height
    for k, line in enumerate(below):
        place = ((width - text_width(line, _NOTE_SIZE)) // 2, top + _ROW_GAP + k * line_height(_NOTE_SIZE))
        drawing.text(place, line, fill=_FAINT, font=font(line, _NOTE_SIZE))
    return np.asarray(page).copy()
