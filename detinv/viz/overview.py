"""The overview of a run: one row per image, the target next to the image and the detections in it."""

from collections.abc import Mapping, Sequence

from jaxtyping import UInt8
from torch import Tensor

from detinv.layouts.layout import Detections, Layout
from detinv.viz.draw import draw_detections, draw_layout
from detinv.viz.image import Picture, display_scale, rescale, stretch_contrast
from detinv.viz.sheet import SheetRow, sheet


def overview(
    layouts: Sequence[Layout],
    images: Sequence[UInt8[Tensor, "3 _ _"]],
    member_detections: Mapping[str, Sequence[Detections]],
    class_names: Sequence[str],
    *,
    max_rows: int = 8,
    score_thresh: int | float = 0.5,
) -> Picture:
    """Draw target layout, inverted image, the same with stretched contrast, and the detections of each detector.

    Args:
        layouts, images: one of each per row, of the same size; sizes may differ from row to row.
        member_detections: by the name of a detector, its detections in each image.
        class_names: names of the classes that the labels number.
        max_rows: further layouts are left out, and a line says so.
        score_thresh: detections with a higher score are drawn.

    Raises:
        ValueError: if there is nothing to draw or the lengths differ.
    """
    _check_lengths(
        layouts=len(layouts), images=len(images), **{name: len(found) for name, found in member_detections.items()}
    )
    rows = []
    for number, (layout, image) in enumerate(zip(layouts[:max_rows], images, strict=False)):
        scale = display_scale(layout.image_size)
        found = [detections[number] for detections in member_detections.values()]
        drawn = [draw_detections(image, one, class_names, scale=scale, score_thresh=score_thresh) for one in found]
        target = draw_layout(layout, class_names, scale=scale)
        cells = (target, rescale(image, scale), rescale(stretch_contrast(image), scale), *drawn)
        counts = [_count(len(one.above(score_thresh)), "detection") for one in found]
        rows.append(SheetRow(f"{layout.id}:  {', '.join([_count(len(layout), 'object'), *counts])}", cells))
    titles = ["detections"] if len(member_detections) == 1 else [f"detections of {name}" for name in member_detections]
    headings = (
        "target layout",
        "inverted image",
        "contrast stretched (for viewing only)",
        *(f"{title} (score > {score_thresh:g})" for title in titles),
    )
    return sheet(headings, rows, _capped(len(rows), len(layouts), "layouts"))


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
    """Draw image, ground truth where there is one, and detections of the first `max_rows` images.

    Args:
        ids: names of the images.
        detections: of each image.
        class_names: names of the classes that the labels number.
        layouts: ground truth of each image.
        max_rows: further images are left out, and a line says so.
        score_thresh: detections with a higher score are drawn.

    Raises:
        ValueError: if there is nothing to draw or the lengths differ.
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
        rows.append(SheetRow(f"{name}:  {summary}", cells))
    truth = () if layouts is None else ("ground truth",)
    headings = ("image", *truth, f"detections (score > {score_thresh:g})")
    return sheet(headings, rows, _capped(len(rows), len(images), "images"))


def _check_lengths(**lengths: int) -> None:
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        raise ValueError(f"an overview needs the same number of each, at least one, got {lengths}")


def _capped(drawn: int, total: int, what: str) -> str:
    return f"{drawn} of {total} {what} shown" if drawn < total else ""


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
