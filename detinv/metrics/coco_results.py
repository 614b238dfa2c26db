"""Detections from a COCO results file, made by whatever program."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import torch

from detinv.errors import LayoutError
from detinv.inputs.numbers import is_coordinate, whole
from detinv.inputs.printable import quoted, reason_of
from detinv.layouts.layout import Detections, Rounding
from detinv.metrics.coco_truth import AnnotatedImages


@dataclass(frozen=True)
class ReportedDetections:
    """Detections of a file.

    Args:
        detections: of each annotated image, those of highest score first.
        rounding: of their numbers, by the digits that are written.
    """

    detections: list[Detections]
    rounding: Rounding


def read_results(path: str | Path, annotated: AnnotatedImages) -> ReportedDetections:
    """Read the detections of each annotated image.

    Args:
        path: a JSON list of {image_id, category_id, bbox, score}, boxes as x, y, width, height in pixels of the image.
        annotated: of the file with the same ids of images and categories.

    Raises:
        LayoutError: for a file that cannot be read, an entry without one of these keys, an id that the annotations or
            the detector do not know, a box without area, or a score that is not in [0, 1].
    """
    path = Path(path)
    images = {_key(one): number for number, one in enumerate(annotated.image_ids)}
    classes = {_key(one): number for number, one in enumerate(annotated.category_ids)}
    found: list[list[tuple[float, int, list[float]]]] = [[] for _ in annotated.image_ids]
    sides: list[float] = []
    scores: list[float] = []
    for number, entry in enumerate(_entries(path)):
        where = f"{path}: entry {number}"
        for name in ("image_id", "category_id", "bbox", "score"):
            if not isinstance(entry, dict) or name not in entry:
                raise LayoutError(f"{where} has no {name}; expected COCO results, a list of detections")
        if _key(entry["image_id"]) not in images:
            raise LayoutError(f"{where}: image_id {quoted(entry['image_id'])} is not among the annotated images")
        if _key(entry["category_id"]) not in classes:
            raise LayoutError(f"{where}: category_id {quoted(entry['category_id'])} is no class of the detector")
        label = classes[_key(entry["category_id"])]
        score, box = _score(where, entry["score"]), _box(where, entry["bbox"])
        found[images[_key(entry["image_id"])]].append((score, label, box))
        sides += entry["bbox"]
        scores.append(entry["score"])
    detections = [_detections(mine, layout.image_size) for mine, layout in zip(found, annotated.layouts, strict=True)]
    # A right edge is the sum of two numbers.
    return ReportedDetections(detections, Rounding(2 * _rounding(sides), _rounding(scores)))


def _rounding(written: Sequence[float]) -> float:
    """Return half a unit of the last digit that any of the numbers has behind the point; 0 for none."""
    digits = [-int(Decimal(repr(value)).normalize().as_tuple().exponent) for value in written]
    return 0.5 * 10.0 ** -max(0, *digits) if digits else 0.0


def _entries(path: Path) -> list[Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise LayoutError(f"{path}: cannot be read as COCO results: {reason_of(error)}") from error
    if not isinstance(content, list):
        raise LayoutError(f"{path}: holds a {type(content).__name__}, expected COCO results (a JSON list)")
    return content


def _key(written: Any) -> Any:
    """Return an id such that 1, 1.0 and "1" are the same."""
    number = whole(written)
    if number is not None:
        return number
    return int(written) if isinstance(written, str) and written.isdecimal() and len(written) < 19 else str(written)


def _score(where: str, written: Any) -> float:
    number = isinstance(written, int | float) and not isinstance(written, bool) and math.isfinite(written)
    if not number or not 0 <= written <= 1:
        raise LayoutError(f"{where}: score {quoted(written)} is no number from 0 to 1")
    return float(written)


def _box(where: str, written: Any) -> list[float]:
    if not isinstance(written, list) or len(written) != 4 or not all(is_coordinate(value) for value in written):
        raise LayoutError(f"{where}: bbox {quoted(written)} must be four numbers: x, y, width, height")
    x, y, width, height = (float(value) for value in written)
    if width <= 0 or height <= 0:
        raise LayoutError(f"{where}: bbox {quoted(written)} has no area")
    return [x, y, x + width, y + height]


def _detections(found: list[tuple[float, int, list[float]]], size: tuple[int, int]) -> Detections:
    ordered = sorted(found, key=lambda one: -one[0])
    return Detections(
        torch.tensor([box for _, _, box in ordered], dtype=torch.float32).reshape(-1, 4),
        torch.tensor([score for score, _, _ in ordered], dtype=torch.float32),
        torch.tensor([label for _, label, _ in ordered], dtype=torch.int64),
        size,
    )
