"""Maps drawn on their photographs."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib import colormaps
from PIL import Image, ImageDraw
from torch import Tensor

from detinv.attribution.attribution import Attribution
from detinv.viz.image import Picture, rescale, scale_within
from detinv.viz.sheet import SheetRow, sheet

# Light to dark for what counts at all; blue against and red for where a map has a sign.
_UNSIGNED, _SIGNED = "inferno", "coolwarm"
# A map covers the photograph fully where it is highest, and not at all where it is zero.
_OPACITY = 0.85
# Of a picture in a sheet, in pixels: its longer side, that of a long and narrow one at most, and the shorter side that
# such a picture is made longer for.
_SIDE, _LONGEST, _NARROW = 256, 1024, 48
_BOX, _CASING = (255, 255, 255), (0, 0, 0)
# The width of a box's lines is the longer side of the picture divided by this. In a box of fewer pixels than `_ROOM`
# they would hide too much, and lie around it.
_LINES, _ROOM = 512, 16


def heat_picture(
    photograph: UInt8[Tensor, "3 height width"],
    heat: Float[Tensor, "height width"],
    box: tuple[float, float, float, float] | None,
    *,
    signed: bool,
    side: int = 0,
) -> Picture:
    """Draw a map on its photograph, greyed, with the explained box where it is given.

    Args:
        heat: scaled by its largest absolute value at the size of the picture: that is the most opaque.
        signed: whether negative values are drawn, in blue.
        side: pixels of the longer side of the picture; 0 keeps the photograph's size.
    """
    scale = scale_within((photograph.shape[1], photograph.shape[2]), side) if side else 1
    grey = np.asarray(Image.fromarray(rescale(photograph, scale)).convert("L").convert("RGB"), dtype=np.float64)
    size = (grey.shape[1], grey.shape[0])
    values = np.asarray(Image.fromarray(heat.numpy().astype(np.float32)).resize(size, Image.Resampling.BILINEAR))
    # Only now: single pixels, as of a gradient, are much weaker in a smaller picture.
    strongest = float(np.abs(values).max())
    values = values / strongest if strongest > 0 else values
    if signed:
        colours = colormaps[_SIGNED](values / 2 + 0.5)[..., :3]
        opacity = np.abs(values)
    else:
        opacity = np.clip(values, 0, 1)
        colours = colormaps[_UNSIGNED](0.25 + 0.75 * opacity)[..., :3]
    opacity = _OPACITY * np.sqrt(opacity)[..., None]
    picture = Image.fromarray(np.round(grey * (1 - opacity) + 255 * colours * opacity).astype(np.uint8))
    return np.asarray(picture).copy() if box is None else _boxed(picture, box, scale)


def object_picture(one: Attribution, side: int | None = None) -> Picture:
    """Draw the photograph in colour with the explained box.

    Args:
        side: pixels of the longer side of the picture; by default it is as large as a map in a sheet.
    """
    scale = scale_within((one.photograph.shape[1], one.photograph.shape[2]), _side(one) if side is None else side)
    return _boxed(Image.fromarray(rescale(one.photograph, scale)), one.box, scale)


def attribution_sheet(attributions: Sequence[Attribution], *, max_rows: int = 12) -> Picture:
    """Draw the maps of one image: a row for each object and method, a column for each question.

    Args:
        attributions: of one image, at least one; every object has the same questions.
        max_rows: further rows are left out, and a line says so.
    """
    by_row: dict[tuple[int, str], list[Attribution]] = {}
    for one in attributions:
        by_row.setdefault((one.object, one.method), []).append(one)
    several = len({one.method for one in attributions}) > 1
    rows = []
    for members in list(by_row.values())[:max_rows]:
        first = members[0]
        cells = [object_picture(first)]
        cells += [_map_picture(one) for one in members]
        method = f", {first.method}" if several else ""
        layers = " and ".join(dict.fromkeys(one.layer for one in members))
        title = f"{first.object + 1}: {first.class_names[first.label]} {first.score:.2f}{method} (from {layers})"
        rows.append(SheetRow(title, cells))
    questions = list(next(iter(by_row.values())))
    headings = ("what is explained", *(_heading(one) for one in questions))
    note = "The brighter, the more it counts; each map on a scale from zero to its own maximum."
    if any(one.signed for one in attributions):
        note = "Red speaks for it, blue against it; each map on a scale up to its own maximum."
    if len(by_row) > max_rows:
        note += f" {max_rows} of {len(by_row)} rows are drawn."
    return sheet(headings, rows, note)


def attribution_overview(rows: Sequence[tuple[str, Sequence[Attribution]]], total: int) -> Picture:
    """Draw one object of each image: a row for each image, a column for each question.

    Args:
        rows: names of the images, and the maps of one object by one method; at least one row, with the same questions.
        total: number of images with an object.
    """
    drawn = []
    for name, maps in rows:
        first = maps[0]
        cells = [object_picture(first)]
        cells += [_map_picture(one) for one in maps]
        drawn.append(SheetRow(f"{name}: {first.class_names[first.label]} {first.score:.2f}", cells))
    headings = ("what is explained", *(_heading(one) for one in rows[0][1]))
    note = f"The first object of {len(rows)} of {total} images. The brighter, the more it counts."
    return sheet(headings, drawn, note)


def _heading(one: Attribution) -> str:
    words = {
        "class": "why this class?",
        "score": "why this score?",
        "left": "why is the left edge here?",
        "top": "why is the top edge here?",
        "right": "why is the right edge here?",
        "bottom": "why is the bottom edge here?",
        "box": "why this box?",
        "mask": "why this mask?",
    }
    if one.question == "contrast":
        other = one.against
        named = one.class_names[other] if isinstance(other, int) else str(other).replace("_", "-")
        return f"why this class, not {'the ' if not isinstance(other, int) else ''}{named}?"
    return words.get(one.question, f"why this {one.question}?")


def _map_picture(one: Attribution) -> Picture:
    return heat_picture(one.photograph, one.heat(), one.box, signed=one.signed, side=_side(one))


def _side(one: Attribution) -> int:
    """Return the longer side of a photograph's pictures in a sheet."""
    shorter, longer = sorted(one.photograph.shape[1:])
    return min(max(_SIDE, round(_NARROW * longer / shorter)), _LONGEST)


def _boxed(picture: Image.Image, box: tuple[float, float, float, float], scale: float) -> Picture:
    drawing, line = ImageDraw.Draw(picture), max(1, round(max(picture.size) / _LINES))
    x0, y0, x1, y1 = (round(value * scale) for value in box)
    x1, y1 = max(x0, min(x1, picture.width) - 1), max(y0, min(y1, picture.height) - 1)
    if min(x1 - x0, y1 - y0) < _ROOM * line:
        x0, y0, x1, y1 = x0 - line, y0 - line, x1 + line, y1 + line
    drawing.rectangle((x0 - line, y0 - line, x1 + line, y1 + line), outline=_CASING, width=line)
    drawing.rectangle((x0, y0, x1, y1), outline=_BOX, width=line)
    return np.asarray(picture).copy()
