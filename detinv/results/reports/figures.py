"""Layouts, images and detections as inline SVG, in which one embedded image serves several figures."""

import base64
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, UInt8
from torch import Tensor

from detinv.layouts.layout import Detections, Layout
from detinv.results.io.files import encode_png
from detinv.results.reports.escape import escaped
from detinv.viz.image import contrast_limits, rescale
from detinv.viz.labels import Rectangle, caption, place_labels
from detinv.viz.palette import class_colour, hex_code, ink_on
from detinv.viz.text import shorten, text_width

# Longer images are embedded reduced: the page is for looking, the files beside it for measuring.
LONGEST_EMBEDDED = 512
# Of the longer side of the image.
_FONT_SHARE = 0.043
# Text is measured in whole pixels of a large font.
_MEASURE = 100


def layout_figure(layout: Layout, class_names: Sequence[str]) -> str:
    """Filled boxes, or masks where there are any, with labels on an empty canvas."""
    canvas = '<rect class="canvas" width="100%" height="100%"/>'
    return _svg(layout.image_size, canvas + _objects(layout, class_names, filled=True), f"target layout {layout.id}")


def image_figure(image: UInt8[Tensor, "3 height width"], key: str, name: str) -> str:
    """The image, embedded once as PNG under the name `key`, for other figures of the page to refer to."""
    size = (image.shape[1], image.shape[2])
    scale = min(1.0, LONGEST_EMBEDDED / max(size))
    data = base64.b64encode(encode_png(rescale(image, scale))).decode()
    element = (
        f'<image id="{key}" width="{size[1]}" height="{size[0]}" preserveAspectRatio="none" '
        f'href="data:image/png;base64,{data}"/>'
    )
    return _svg(size, element, f"inverted image {name}")


def stretched_figure(image: UInt8[Tensor, "3 height width"], key: str, name: str) -> str:
    """The image embedded under `key`, shown with stretched contrast."""
    low, high = contrast_limits(image)
    slope, intercept = 255 / (high - low), -low / (high - low)
    channels = "".join(
        f'<feFunc{c} type="linear" slope="{slope:.6g}" intercept="{intercept:.6g}"/>' for c in ("R", "G", "B")
    )
    content = (
        f'<filter id="{key}-stretch" x="0" y="0" width="1" height="1" color-interpolation-filters="sRGB">'
        f"<feComponentTransfer>{channels}</feComponentTransfer></filter>"
        f'<use href="#{key}" filter="url(#{key}-stretch)"/>'
    )
    return _svg((image.shape[1], image.shape[2]), content, f"image {name}, contrast stretched")


def detections_figure(found: Detections, class_names: Sequence[str], key: str, name: str) -> str:
    """The image embedded under `key` with what the detector reported in it."""
    content = f'<use href="#{key}"/>' + _objects(found, class_names, filled=False)
    return _svg(found.image_size, content, f"detections in image {name}")


def _svg(size: tuple[int, int], content: str, title: str) -> str:
    height, width = size
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escaped(title)}">{content}</svg>'


def _objects(found: Detections | Layout, class_names: Sequence[str], filled: bool) -> str:
    height, width = found.image_size
    order = list(range(len(found)))
    if isinstance(found, Detections):
        order.sort(key=lambda row: -float(found.scores[row]))
    boxes = [_inside(found.boxes[row].tolist(), height, width) for row in order]
    shapes, captions, colours = [], [], []
    for row, box in zip(order, boxes, strict=True):
        colour = class_colour(int(found.labels[row]))
        colours.append(colour)
        captions.append(caption(found, row, class_names))
        shapes.append(_shape(box, hex_code(colour), filled, None if found.masks is None else found.masks[row]))
    size = _FONT_SHARE * max(height, width)
    padding = 0.28 * size
    room = int((width - 2 * padding) * _MEASURE / size)
    texts = [shorten(text, _MEASURE, room) for text in captions]
    lengths = [text_width(text, _MEASURE) * size / _MEASURE for text in texts]
    box_sizes = [(length + 2 * padding, 1.45 * size) for length in lengths]
    corners = place_labels(boxes, box_sizes, (height, width))
    labels = []
    for (x, y), (w, h), text, length, colour in zip(corners, box_sizes, texts, lengths, colours, strict=True):
        # The length is prescribed because the reader's font is not the one that was measured.
        labels.append(
            f'<rect x="{x:.2f}" y="{y:.2f}" width="{w:.2f}" height="{h:.2f}" fill="{hex_code(colour)}"/>'
            f'<text x="{x + padding:.2f}" y="{y + 1.08 * size:.2f}" font-size="{size:.2f}" '
            f'fill="{hex_code(ink_on(colour))}" textLength="{length:.2f}" lengthAdjust="spacingAndGlyphs">'
            f"{escaped(text)}</text>"
        )
    # The first, most certain object is drawn last.
    return "".join([*reversed(shapes), *reversed(labels)])


def _shape(box: Rectangle, colour: str, filled: bool, mask: Bool[Tensor, "height width"] | None) -> str:
    x0, y0, x1, y1 = box
    place = f'x="{x0:.2f}" y="{y0:.2f}" width="{x1 - x0:.2f}" height="{y1 - y0:.2f}"'
    inner = ""
    if mask is not None:
        inner = f'<path class="mask" d="{_mask_path(mask)}" fill="{colour}" opacity="{0.65 if filled else 0.25}"/>'
    opacity = 0.3 if filled and mask is None else 0
    return (
        f'{inner}<rect class="casing" {place}/>'
        f'<rect class="box" {place} fill="{colour}" fill-opacity="{opacity}" stroke="{colour}"/>'
    )


def _inside(box: list[float], height: int, width: int) -> Rectangle:
    x0, y0, x1, y1 = box
    x0, y0 = min(max(x0, 0.0), width), min(max(y0, 0.0), height)
    return x0, y0, min(max(x1, x0), width), min(max(y1, y0), height)


def _mask_path(mask: Bool[Tensor, "height width"]) -> str:
    """The runs of a mask's rows as rectangles of one path: exact, and shorter than an image."""
    padded = np.pad(mask.cpu().numpy().astype(np.int8), ((0, 0), (1, 1)))
    changes = np.diff(padded, axis=1)
    ys, starts = np.nonzero(changes == 1)
    _, ends = np.nonzero(changes == -1)
    return "".join(f"M{x0} {y}h{x1 - x0}v1H{x0}z" for y, x0, x1 in zip(ys, starts, ends, strict=True))
