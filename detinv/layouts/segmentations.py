"""COCO segmentations to masks: polygons, and run-length encodings with and without compression.

pycocotools rasterises the polygons. Run lengths are decoded here, because its decoder trusts them and returns
uninitialised memory when they do not fill the image.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from pycocotools import mask as rle
from torch import Tensor

from detinv.errors import LayoutError
from detinv.inputs.numbers import is_coordinate, whole
from detinv.inputs.printable import quoted

_LONGEST_OUTLINE = 10_000_000


def rasterised(segmentation: Any, image_size: tuple[int, int], where: str) -> Bool[Tensor, "height width"] | None:
    """Rasterise one annotation; None where it has no segmentation or covers no pixel.

    Args:
        segmentation: the annotation's entry as read from JSON: absent (None or empty), a list of polygons
            [x0, y0, x1, y1, ...] or a single one, or {"size": [H, W], "counts": list or string}. Polygons of one or
            two points, which have no area, are ignored where there are others.
        image_size: (height, width) of the image.
        where: file and annotation; opens the error message.

    Raises:
        LayoutError: for a segmentation that is there but cannot be read, or belongs to an image of another size.
    """
    if segmentation is None or segmentation == [] or segmentation == {}:
        return None
    if isinstance(segmentation, list):
        runs = _runs_of_polygons(segmentation, image_size, where)
    elif isinstance(segmentation, dict):
        runs = _runs(segmentation, image_size, where)
    else:
        raise LayoutError(f"{where}: segmentation is a {type(segmentation).__name__}, expected polygons or a RLE")
    # Runs alternate between outside and inside, column by column.
    inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    height, width = image_size
    return torch.from_numpy(inside.reshape(width, height).T.copy()) if inside.any() else None


def _runs_of_polygons(given: list[Any], image_size: tuple[int, int], where: str) -> list[int]:
    if all(isinstance(value, int | float) for value in given):
        # The VGG Image Annotator writes a single polygon without the list around it.
        given = [given]
    polygons = [polygon for polygon in given if not (isinstance(polygon, list) and len(polygon) in (0, 2, 4))]
    if not polygons:
        raise LayoutError(f"{where}: no polygon of its segmentation has three points")
    for number, polygon in enumerate(polygons):
        entry = f"{where}: polygon {number} of its segmentation"
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise LayoutError(f"{entry} must be a list of x, y pairs, at least three of them")
        if not all(is_coordinate(value) for value in polygon):
            raise LayoutError(f"{entry} has a coordinate that is not a finite number")
        if _outline(polygon) > _LONGEST_OUTLINE:
            raise LayoutError(f"{entry} has an outline of more than {_LONGEST_OUTLINE} pixels; simplify it")
    union = rle.merge(rle.frPyObjects(polygons, *image_size))
    return _run_lengths(union["counts"].decode("ascii"), where)


def _outline(polygon: list[int | float]) -> float:
    """Its length, by the longer of the two axes of each edge: that many steps are taken, and kept, to draw it."""
    xs, ys = polygon[::2], polygon[1::2]
    closed = zip(xs, ys, [*xs[1:], xs[0]], [*ys[1:], ys[0]], strict=True)
    return sum(max(abs(x1 - x0), abs(y1 - y0)) for x0, y0, x1, y1 in closed)


def _runs(segmentation: dict[str, Any], image_size: tuple[int, int], where: str) -> list[int]:
    height, width = image_size
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if size != [height, width]:
        raise LayoutError(
            f"{where}: its mask has size {quoted(size)}, but its image is {height} high and {width} wide "
            f"(expected [{height}, {width}])"
        )
    if isinstance(counts, str):
        runs = _run_lengths(counts, where)
    else:
        given = counts if isinstance(counts, list) else []
        runs = [run for run in map(whole, given) if run is not None]
        if not runs or len(runs) < len(given):
            raise LayoutError(f"{where}: the counts of its mask must be a string or a list of whole numbers")
    if any(run < 0 for run in runs) or sum(runs) != height * width:
        raise LayoutError(
            f"{where}: the runs of its mask have {quoted(sum(runs))} pixels, its image has {height * width}; encode it "
            "again"
        )
    return runs


def _run_lengths(text: str, where: str) -> list[int]:
    """Decode compressed run lengths.

    Each number is written in groups of five bits, lowest first, as the character 48 + group; 32 is added where more
    groups follow; the highest bit of the last group is the sign. From the fourth on, a number is the difference
    from the run two before.
    """
    runs: list[int] = []
    value, shift = 0, 0
    for character in text:
        group = ord(character) - 48
        if not 0 <= group < 64 or shift > 60:
            raise LayoutError(f"{where}: the counts of its mask are not a run-length encoding")
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value, shift = 0, 0
    if shift:
        raise LayoutError(f"{where}: the counts of its mask end in the middle of a number")
    return runs
