"""One object as people write it, a class name and a box, checked and turned into numbers."""

from collections.abc import Sequence
from typing import Any

import torch

from detinv.errors import LayoutError
from detinv.inputs.numbers import is_coordinate
from detinv.inputs.printable import quoted
from detinv.layouts.labels import label_of

# Annotation files round to two decimals, so a box may stick out of its image by that much.
_BORDER_TOLERANCE = 0.02


def parse_object(
    label: Any, box: Any, class_names: Sequence[str], image_size: tuple[int, int], where: str
) -> tuple[int, list[float]]:
    """Return the class number and the corners x0, y0, x1, y1 in float32 precision.

    Args:
        label: a class name.
        box: XYXY in pixels.
        class_names: names of the classes; a label's number is its position here.
        image_size: (height, width).
        where: which object of what; opens the error message.

    Raises:
        LayoutError: for a label that is no class name, suggesting the nearest one, and for a box that is not four
            finite numbers, is reversed or empty, or lies outside the image.
    """
    if not isinstance(label, str):
        raise LayoutError(f"{where}: its label {quoted(label)} must be a class name; put quotes around it")
    if not isinstance(box, list | tuple) or len(box) != 4 or not all(is_coordinate(value) for value in box):
        raise LayoutError(f"{where}: its box {quoted(box)} must be four finite numbers x0, y0, x1, y1")
    # In float32, as in the layout, where a sliver may vanish.
    corners = torch.tensor([float(value) for value in box]).tolist()
    problem = box_problem(corners, *image_size)
    if problem:
        raise LayoutError(f"{where}: {problem}")
    return label_of(label, class_names, where), corners


def box_problem(box: list[float], height: int, width: int) -> str:
    """Return what is wrong with an XYXY box in an image of `height` x `width` pixels; an empty text if nothing is."""
    x0, y0, x1, y1 = box
    numbers = "[" + ", ".join(f"{value:g}" for value in box) + "]"
    if not all(-1e9 < value < 1e9 for value in box):
        return f"box {numbers} is not finite"
    if x1 <= x0 or y1 <= y0:
        return f"box {numbers} is reversed or empty (expected x0 < x1 and y0 < y1)"
    edge = _BORDER_TOLERANCE
    if x0 < -edge or y0 < -edge or x1 > width + edge or y1 > height + edge:
        return f"box {numbers} lies outside its image of {width} x {height} pixels"
    return ""
