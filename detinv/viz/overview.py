"""The picture a person looks at first: one row per image, what was wanted beside what came out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw
from torch import Tensor

from detinv.layouts.layout import Detections, Layout
from detinv.viz.draw import draw_detections, draw_layout
from detinv.viz.image import Picture, display_scale, rescale, stretch_contrast
from detinv.viz.text import font, line_height, shorten, text_width, wrap

_PAPER, _INK, _FAINT, _RULE = (255, 255, 255), (24, 24, 27), (100, 100, 110), (225, 225, 230)
_MARGIN, _GAP, _ROW_GAP = 24, 16, 26
_HEADER_SIZE, _NOTE_SIZE = 16, 14
# Narrower columns than this leave no room for their headings.
_LEAST_COLUMN = 176


@dataclass(frozen=True)
class _Row:
    title: str
    cells: Sequence[Picture]


def overview(
    layouts: Sequence[Layout],
    images: Sequence[UInt8[Tensor, "3 _ _"]],
    readings: Mapping[str, Sequence[Detections]],
    class_names: Sequence[str],
    *,
    max_rows: int = 8,
    score_thresh: int | float = 0.5,
) -> Picture:
    """Target layout, inverted image, the same with its contrast stretched, and what each detector sees in it.

    Args:
        layouts, images: of equal length, in the same pixels; sizes may differ from row to row.
        readings: by detector, what it reports in each image.
        max_rows: further layouts are left out, and a line says so.
        score_thresh: detections with a score above it are drawn.

    Raises:
        ValueError: if there is nothing to show or the lengths differ.
    """
    _check_lengths(layouts=len(layouts), images=len(images), **{name: len(found) for name, found in readings.items()})
    rows = []
    for number, (layout, image) in enumerate(zip(layouts[:max_rows], images, strict=False)):
        scale = display_scale(layout.image_size)
        found = [detections[number] for detections in readings.values()]
        seen = [draw_detections(image, one, class_names, scale=scale, score_thresh=score_thresh) for one in found]
        wanted = draw_layout(layout, class_names, scale=scale)
        cells = (wanted, rescale(image, scale), rescale(stretch_contrast(image), scale), *seen)
        counts = [_count(len(one.above(score_thresh)), "detection") for one in found]
        rows.append(_Row(f"{layout.id}:  {', '.join([_count(len(layout), 'object'), *counts])}", cells))
    readers = ["the detector"] if len(readings) == 1 else list(readings)
    headings = (
        "target layout",
        "inverted image",
        "contrast stretched (for viewing only)",
        *(f"what {reader} sees (score > {score_thresh:g})" for reader in readers),
    )
    return _table(headings, rows, _capped(len(rows), len(layouts), "layouts"))


def detections_overview(
    images: Sequence[UInt8[Tensor, "3 _ _"]],
    ids: Sequence[str],
    detections: Sequence[Detections],
    class_names: Sequence[str],
    layouts: Sequence[Layout] | None = None,
    *,
    max_rows: int = 8,
    score_thresh: int | float = 0.5,
) -> Picture:
    """Image, ground truth where there is one, and detections of the first `max_rows` images.

    Args:
        ids: names of the images.
        layouts: what is annotated, one for each image.
        score_thresh: detections with a score above it are drawn.

    Raises:
        ValueError: if there is nothing to show or the lengths differ.
    """
    _check_lengths(images=len(images), ids=len(ids), detections=len(detections))
    if layouts is not None:
        _check_lengths(images=len(images), layouts=len(layouts))
    rows = []
    for number, (image, name, found) in enumerate(zip(images[:max_rows], ids, detections, strict=False)):
        scale = display_scale(found.image_size)
        cells = [rescale(image, scale)]
        summary = _count(len(found.above(score_thresh)), "detection")
        if layouts is not None:
            cells.append(draw_detections(image, layouts[number], class_names, scale=scale))
            summary = f"{_count(len(layouts[number]), 'object')}, {summary}"
        cells.append(draw_detections(image, found, class_names, scale=scale, score_thresh=score_thresh))
        rows.append(_Row(f"{name}:  {summary}", cells))
    truth = () if layouts is None else ("ground truth",)
    headings = ("image", *truth, f"detections (score > {score_thresh:g})")
    return _table(headings, rows, _capped(len(rows), len(images), "images"))


def _table(headings: Sequence[str], rows: Sequence[_Row], note: str) -> Picture:
    """Columns of equal width below their headings, a title line above every row, a note at the end."""
    column = max([_LEAST_COLUMN, *(cell.shape[1] for row in rows for cell in row.cells)])
    wrapped = [wrap(heading, _HEADER_SIZE, column) for heading in headings]
    header = max(len(lines) for lines in wrapped) * line_height(_HEADER_SIZE)
    title = line_height(_NOTE_SIZE) + 4
    width = 2 * _MARGIN + len(headings) * (column + _GAP) - _GAP
    height = 2 * _MARGIN + header + sum(_ROW_GAP + title + row.cells[0].shape[0] for row in rows)
    if note:
        height += _ROW_GAP + line_height(_NOTE_SIZE)

    sheet = Image.new("RGB", (width, height), _PAPER)
    drawing = ImageDraw.Draw(sheet)
    for number, lines in enumerate(wrapped):
        for k, line in enumerate(lines):
            place = (_MARGIN + number * (column + _GAP), _MARGIN + k * line_height(_HEADER_SIZE))
            drawing.text(place, line, fill=_INK, font=font(_HEADER_SIZE))
    top = _MARGIN + header
    for row in rows:
        drawing.line((_MARGIN, top + _ROW_GAP // 2 - 3, width - _MARGIN, top + _ROW_GAP // 2 - 3), fill=_RULE)
        top += _ROW_GAP
        text = shorten(row.title, _NOTE_SIZE, width - 2 * _MARGIN)
        drawing.text((_MARGIN, top), text, fill=_FAINT, font=font(_NOTE_SIZE))
        top += title
        for number, cell in enumerate(row.cells):
            sheet.paste(Image.fromarray(cell), (_MARGIN + number * (column + _GAP), top))
        top += row.cells[0].shape[0]
    if note:
        left = (width - text_width(note, _NOTE_SIZE)) // 2
        drawing.text((left, top + _ROW_GAP), note, fill=_FAINT, font=font(_NOTE_SIZE))
    return np.asarray(sheet).copy()


def _check_lengths(**lengths: int) -> None:
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        raise ValueError(f"an overview needs the same number of each, at least one, got {lengths}")


def _capped(shown: int, total: int, what: str) -> str:
    return f"{shown} of {total} {what} shown" if shown < total else ""


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
