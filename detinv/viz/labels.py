"""Captions of objects, and where to place them."""

from collections.abc import Sequence

from detinv.layouts.layout import Detections, Layout

Number = int | float
Rectangle = tuple[Number, Number, Number, Number]
"""x0, y0, x1, y1 on the picture."""


def caption(found: Detections | Layout, row: int, class_names: Sequence[str]) -> str:
    """Return the class of object `row`, with its score if it has one; a class without a name is given by its number."""
    label = int(found.labels[row])
    name = class_names[label] if label < len(class_names) else f"class {label}"
    return f"{name} {_score(float(found.scores[row]))}" if isinstance(found, Detections) else name


def place_labels(
    boxes: Sequence[Rectangle], sizes: Sequence[tuple[Number, Number]], picture_size: tuple[Number, Number]
) -> list[tuple[Number, Number]]:
    """Return the upper left corners of the labels of `boxes`: inside the picture, with as little overlap as is easy.

    Each label in turn takes, of a few places at its box, the one that covers the least of earlier labels and, with a
    lower weight, of other boxes; places above the box are preferred.

    Args:
        sizes: (width, height) of each label, in the units of the boxes.
        picture_size: (height, width).
    """
    height, width = picture_size
    placed: list[Rectangle] = []
    for row, ((x0, y0, x1, y1), (w, h)) in enumerate(zip(boxes, sizes, strict=True)):
        choices = [
            (x0, y0 - h),
            (x1 - w, y0 - h),
            (x0, y1),
            (x1 - w, y1),
            (x0, y0),
            (x1 - w, y0),
            (x0, y1 - h),
            (x1 - w, y1 - h),
            (x0, y0 - 2 * h),
            (x0, y1 + h),
        ]
        best: Rectangle | None = None
        least_cost = float("inf")
        for rank, (x, y) in enumerate(choices):
            x, y = min(max(x, 0), max(width - w, 0)), min(max(y, 0), max(height - h, 0))
            place = (x, y, x + w, y + h)
            cost = sum(_overlap(place, other) for other in placed)
            cost += 0.2 * sum(_overlap(place, other) for k, other in enumerate(boxes) if k != row)
            cost += 0.02 * rank * w * h
            if cost < least_cost:
                best, least_cost = place, cost
        assert best is not None
        placed.append(best)
    return [place[:2] for place in placed]


def _score(score: float) -> str:
    # 0.998 must not look like certainty.
    return f"{min(score, 0.99) if score < 1 else score:.2f}"


def _overlap(a: Rectangle, b: Rectangle) -> Number:
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
