"""Boxes, masks and labels drawn on images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from PIL import Image, ImageDraw
from torch import Tensor

from detinv.layouts.layout import Detections, Layout
from detinv.viz.image import Picture, display_scale, rescale, scaled_size
from detinv.viz.labels import Rectangle, caption, place_labels
from detinv.viz.palette import Colour, class_colour, ink_on
from detinv.viz.text import font, legible, shorten, text_width

# Grey level of the canvas of a drawn layout: light, so that all class colours are visible.
_CANVAS = 240
# Outline of lines, so that they are visible on images of any colour.
_CASING = (0, 0, 0, 120)


@dataclass(frozen=True)
class _Style:
    """Opacities, 0 to 255, and sizes in pixels."""

    fill: int
    mask: int
    font_size: int
    line: int = 2
    padding: int = 3


def draw_detections(
    image: UInt8[Tensor, "3 height width"],
    found: Detections | Layout,
    class_names: Sequence[str],
    *,
    scale: int | float | None = None,
    score_thresh: int | float = 0.0,
) -> Picture:
    """Draw boxes, translucent masks and labels with class and score on the enlarged image.

    Args:
        image: RGB.
        found: in the pixels of the image; a layout has no scores, so all its objects are drawn.
        class_names: names of the classes that the labels number.
        scale: whole factor of enlargement (pixels are repeated), or a fraction to reduce the image; by default
            `display_scale`.
        score_thresh: only detections with a higher score are drawn.
    """
    if found.image_size != tuple(image.shape[1:]):
        raise ValueError(
            f"the image is of size {tuple(image.shape[1:])}, but its objects are of size {found.image_size}"
        )
    scale = display_scale(found.image_size) if scale is None else scale
    if isinstance(found, Detections):
        found = found.above(score_thresh)
    return _draw(rescale(image, scale), found, class_names, scale, _Style(fill=0, mask=56, font_size=12))


def draw_layout(layout: Layout, class_names: Sequence[str], *, scale: int | float | None = None) -> Picture:
    """Draw a layout as translucent boxes, with masks if there are any, and labels on a light canvas.

    Args:
        scale: as in `draw_detections`.
    """
    scale = display_scale(layout.image_size) if scale is None else scale
    canvas = np.full((*scaled_size(layout.image_size, scale), 3), _CANVAS, dtype=np.uint8)
    fill = 70 if layout.masks is None else 28
    return _draw(canvas, layout, class_names, scale, _Style(fill=fill, mask=150, font_size=13))


def _draw(
    picture: Picture, found: Detections | Layout, class_names: Sequence[str], scale: int | float, style: _Style
) -> Picture:
    height, width = picture.shape[:2]
    # Objects with high scores, and small objects of a layout, are drawn last, on top of the others.
    order = list(range(len(found)))
    if isinstance(found, Detections):
        order.sort(key=lambda row: float(found.scores[row]))
    else:
        sides = found.boxes[:, 2:] - found.boxes[:, :2]
        order.sort(key=lambda row: -float(sides[row].prod()))
    base = Image.fromarray(picture).convert("RGBA")
    colours = [class_colour(int(label)) for label in found.labels]
    rectangles = [_on_picture(found.boxes[row].tolist(), scale, width, height) for row in range(len(found))]
    for row in order:
        overlay = Image.new("RGBA", base.size)
        drawing = ImageDraw.Draw(overlay)
        if found.masks is not None:
            overlay.paste(_mask_layer(found.masks[row], colours[row], (width, height), style.mask))
        elif style.fill:
            drawing.rectangle(rectangles[row], fill=(*colours[row], style.fill))
        _draw_box(drawing, rectangles[row], colours[row], style.line)
        base.alpha_composite(overlay)
    _draw_labels(base, [(rectangles[k], colours[k], caption(found, k, class_names)) for k in reversed(order)], style)
    return np.asarray(base.convert("RGB")).copy()


def _on_picture(box: list[float], scale: int | float, width: int, height: int) -> Rectangle:
    """Return the first and last pixel of the box along both axes of the picture."""
    x0, y0, x1, y1 = (round(value * scale) for value in box)
    x0, y0 = min(max(x0, 0), width - 1), min(max(y0, 0), height - 1)
    return x0, y0, max(x0, min(x1, width) - 1), max(y0, min(y1, height) - 1)


def _draw_box(drawing: ImageDraw.ImageDraw, rectangle: Rectangle, colour: Colour, line: int) -> None:
    x0, y0, x1, y1 = rectangle
    inner = line
    drawing.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=_CASING)
    if x1 - x0 > 2 * inner and y1 - y0 > 2 * inner:
        drawing.rectangle((x0 + inner, y0 + inner, x1 - inner, y1 - inner), outline=_CASING)
    drawing.rectangle(rectangle, outline=(*colour, 255), width=line)


def _mask_layer(mask: Bool[Tensor, "height width"], colour: Colour, size: tuple[int, int], opacity: int) -> Image.Image:
    """Return the mask filled with a translucent colour and with an opaque border; `size` is (width, height)."""
    shape = (mask.to(torch.uint8) * 255).cpu().numpy()
    inside = np.asarray(Image.fromarray(shape).resize(size, Image.Resampling.NEAREST)) > 0
    padded = np.pad(inside, 1)
    interior = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    layer = np.zeros((*inside.shape, 4), dtype=np.uint8)
    layer[..., :3] = colour
    layer[..., 3] = np.where(inside & interior, opacity, np.where(inside, 230, 0))
    return Image.fromarray(layer)


def _draw_labels(base: Image.Image, labels: list[tuple[Rectangle, Colour, str]], style: _Style) -> None:
    padding = style.padding
    ascent = round(style.font_size * 1.0)
    height = ascent + 2 * padding
    texts = [shorten(legible(text), style.font_size, base.width - 2 * padding) for _, _, text in labels]
    sizes = [(text_width(text, style.font_size) + 2 * padding, height) for text in texts]
    corners = place_labels([box for box, _, _ in labels], sizes, (base.height, base.width))
    drawing = ImageDraw.Draw(base)
    # The most certain object's label was placed first and is drawn last.
    for (_, colour, _), text, (width, _), (x, y) in reversed(list(zip(labels, texts, sizes, corners, strict=True))):
        if text:
            drawing.rectangle((x, y, x + width - 1, y + height - 1), fill=(*colour, 255))
            middle = (x + padding, y + height / 2)
            drawing.text(middle, text, fill=(*ink_on(colour), 255), font=font(text, style.font_size), anchor="lm")
