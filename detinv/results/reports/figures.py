"""Layouts, images and detections as inline SVG, in which one embedded image serves several figures."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8
from torch import Tensor

from detinv.layouts.layout import Detections, Layout
from detinv.results.io.files import encode_png
from detinv.results.reports.html import render_macro
from detinv.viz.image import contrast_limits, rescale
from detinv.viz.labels import Rectangle, caption, place_labels
from detinv.viz.palette import class_colour, hex_code, ink_on
from detinv.viz.text import shorten, text_width

LONGEST_EMBEDDED = 512
"""Longer side, in pixels, to which larger images are reduced; the saved files have all pixels."""

_TEMPLATE = "figures.html"
# Size of the font, as a share of the longer side of the image.
_FONT_SHARE = 0.043
# Text widths are measured in whole pixels, so they are measured in a large font.
_MEASURE = 100


@dataclass(frozen=True)
class _DrawnObject:
    """A box in the pixels of the figure, and the SVG path of its mask, if there is one."""

    x: float
    y: float
    width: float
    height: float
    colour: str
    box_opacity: float
    mask: str
    mask_opacity: float


@dataclass(frozen=True)
class _DrawnLabel:
    """A caption on a filled rectangle, in the pixels of the figure."""

    x: float
    y: float
    width: float
    height: float
    colour: str
    ink: str
    text: str
    text_x: float
    text_y: float
    text_length: float
    font_size: float


def layout_figure(layout: Layout, class_names: Sequence[str]) -> str:
    """Draw filled boxes, or masks where there are any, with labels on an empty canvas."""
    objects, labels = _drawn(layout, class_names, filled=True)
    title = f"target layout {layout.id}"
    return render_macro(_TEMPLATE, "layout", size=layout.image_size, title=title, objects=objects, labels=labels)


def image_figure(image: UInt8[Tensor, "3 height width"], key: str, name: str) -> str:
    """Embed the image as PNG under the id `key`, to which other figures of the page refer."""
    size = (image.shape[1], image.shape[2])
    scale = min(1.0, LONGEST_EMBEDDED / max(size))
    png = base64.b64encode(encode_png(rescale(image, scale))).decode()
    return render_macro(_TEMPLATE, "image", size=size, title=f"inverted image {name}", key=key, png=png)


def stretched_figure(image: UInt8[Tensor, "3 height width"], key: str, name: str) -> str:
    """Draw the image that is embedded under `key` with stretched contrast."""
    low, high = contrast_limits(image)
    return render_macro(
        _TEMPLATE,
        "stretched",
        size=(image.shape[1], image.shape[2]),
        title=f"image {name}, contrast stretched",
        key=key,
        slope=255 / (high - low),
        intercept=-low / (high - low),
    )


def detections_figure(found: Detections, class_names: Sequence[str], key: str, name: str) -> str:
    """Draw detections on the image that is embedded under `key`."""
    objects, labels = _drawn(found, class_names, filled=False)
    title = f"detections in image {name}"
    return render_macro(
        _TEMPLATE, "detections", size=found.image_size, title=title, key=key, objects=objects, labels=labels
    )


def _drawn(
    found: Detections | Layout, class_names: Sequence[str], filled: bool
) -> tuple[list[_DrawnObject], list[_DrawnLabel]]:
    """Return objects and labels in the order in which they are drawn: the first, most certain object comes last."""
    height, width = found.image_size
    order = list(range(len(found)))
    if isinstance(found, Detections):
        order.sort(key=lambda row: -float(found.scores[row]))
    boxes = [_inside(found.boxes[row].tolist(), height, width) for row in order]
    colours = [class_colour(int(found.labels[row])) for row in order]
    objects = []
    for row, (x0, y0, x1, y1), colour in zip(order, boxes, colours, strict=True):
        mask = "" if found.masks is None else _mask_path(found.masks[row])
        box_opacity = 0.3 if filled and found.masks is None else 0
        mask_opacity = 0.65 if filled else 0.25
        objects.append(_DrawnObject(x0, y0, x1 - x0, y1 - y0, hex_code(colour), box_opacity, mask, mask_opacity))
    size = _FONT_SHARE * max(height, width)
    padding = 0.28 * size
    room = int((width - 2 * padding) * _MEASURE / size)
    texts = [shorten(caption(found, row, class_names), _MEASURE, room) for row in order]
    lengths = [text_width(text, _MEASURE) * size / _MEASURE for text in texts]
    sizes = [(length + 2 * padding, 1.45 * size) for length in lengths]
    labels = [
        _DrawnLabel(
            x, y, w, h, hex_code(colour), hex_code(ink_on(colour)), text, x + padding, y + 1.08 * size, length, size
        )
        for (x, y), (w, h), text, length, colour in zip(
            place_labels(boxes, sizes, (height, width)), sizes, texts, lengths, colours, strict=True
        )
    ]
    return objects[::-1], labels[::-1]


def _inside(box: list[float], height: int, width: int) -> Rectangle:
    x0, y0, x1, y1 = box
    x0, y0 = min(max(x0, 0.0), width), min(max(y0, 0.0), height)
    return x0, y0, min(max(x1, x0), width), min(max(y1, y0), height)


def _mask_path(mask: Bool[Tensor, "height width"]) -> str:
    """Return the runs of a mask's rows as rectangles of one SVG path: exact, and shorter than an image."""
    padded = np.pad(mask.cpu().numpy().astype(np.int8), ((0, 0), (1, 1)))
    changes = np.diff(padded, axis=1)
    ys, starts = np.nonzero(changes == 1)
    _, ends = np.nonzero(changes == -1)
    return "".join(f"M{x0} {y}h{x1 - x0}v1H{x0}z" for y, x0, x1 in zip(ys, starts, ends, strict=True))
