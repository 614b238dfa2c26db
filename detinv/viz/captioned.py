"""Pictures in a grid, each with lines of text below."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw
from torch import Tensor

from detinv.viz.image import Picture
from detinv.viz.text import font, legible, line_height, shorten

_PAPER, _INK = (255, 255, 255), (24, 24, 27)
_SIZE, _GAP, _MARGIN = 13, 18, 12


@dataclass(frozen=True)
class Captioned:
    """Pictures side by side, and the lines of text below them."""

    pictures: Sequence[Picture]
    lines: Sequence[str]


def captioned_grid(cells: Sequence[Captioned], *, columns: int = 4) -> Picture:
    """Arrange cells row by row on white; all are as wide as the widest, and longer lines of text are shortened.

    Raises:
        ValueError: if there is no cell, or one without a picture.
    """
    if not cells or not all(cell.pictures for cell in cells):
        raise ValueError("a grid needs at least one cell, and each cell a picture")
    joined = [_side_by_side(cell.pictures) for cell in cells]
    columns = min(columns, len(cells))
    width = max(picture.shape[1] for picture in joined)
    height = max(picture.shape[0] for picture in joined)
    below = 4 + max(len(cell.lines) for cell in cells) * line_height(_SIZE)
    rows = -(-len(cells) // columns)
    sheet = Image.new(
        "RGB",
        (2 * _MARGIN + columns * (width + _GAP) - _GAP, 2 * _MARGIN + rows * (height + below + _GAP) - _GAP),
        _PAPER,
    )
    drawing = ImageDraw.Draw(sheet)
    for number, (cell, picture) in enumerate(zip(cells, joined, strict=True)):
        left = _MARGIN + number % columns * (width + _GAP)
        top = _MARGIN + number // columns * (height + below + _GAP)
        sheet.paste(Image.fromarray(picture), (left, top))
        for k, line in enumerate(cell.lines):
            place = (left, top + height + 4 + k * line_height(_SIZE))
            text = shorten(legible(line), _SIZE, width)
            drawing.text(place, text, fill=_INK, font=font(text, _SIZE))
    return np.asarray(sheet).copy()


def close_up(
    image: UInt8[Tensor, "3 height width"],
    box: Sequence[float],
    *,
    side: int = 160,
    margin: float = 0.4,
    least: float = 48.0,
) -> Picture:
    """Crop a square around a box, white beyond the edges of the image.

    Args:
        image: RGB.
        box: XYXY in its pixels.
        side: side of the result, in pixels; where it enlarges, pixels of the image are repeated.
        margin: margin on each side of the box, as a multiple of its longer side.
        least: smallest side of the crop, in pixels of the image; the crop is never larger than the image.
    """
    x0, y0, x1, y1 = box
    wanted = max(least, (1 + 2 * margin) * max(x1 - x0, y1 - y0))
    span = max(1, round(min(wanted, max(image.shape[1:]))))
    left, top = (
        _moved(round(middle - span / 2), span, length)
        for middle, length in (((x0 + x1) / 2, image.shape[2]), ((y0 + y1) / 2, image.shape[1]))
    )
    picture = Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy()))
    view = Image.new("RGB", (span, span), _PAPER)
    view.paste(picture, (-left, -top))
    how = Image.Resampling.NEAREST if span < side else Image.Resampling.BOX
    return np.asarray(view.resize((side, side), how)).copy()


def _moved(start: int, span: int, length: int) -> int:
    """Return the start of a crop, moved into the image where it fits, and centred on the image where it does not."""
    return min(max(start, 0), length - span) if span <= length else (length - span) // 2


def _side_by_side(pictures: Sequence[Picture]) -> Picture:
    height = max(picture.shape[0] for picture in pictures)
    width = sum(picture.shape[1] for picture in pictures) + 3 * (len(pictures) - 1)
    joined = np.full((height, width, 3), 255, dtype=np.uint8)
    left = 0
    for picture in pictures:
        joined[: picture.shape[0], left : left + picture.shape[1]] = picture
        left += picture.shape[1] + 3
    return joined
