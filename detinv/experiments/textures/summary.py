"""Means, table and charts of what re-texturing does to probability and overlap."""

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from detinv.experiments.textures.scene import MATCHINGS, ObjectRecord
from detinv.metrics.intervals import Interval
from detinv.metrics.jackknife import grouped_difference_interval, grouped_mean_interval
from detinv.results.reports.findings import Cell, Figure, Table
from detinv.viz.charts import lines

_ALL = "all"


def nearest_size(side: float, sizes: Sequence[float]) -> float:
    """Choose the one of `sizes` whose ratio to `side` is nearest to 1."""
    return min(sizes, key=lambda size: abs(math.log2(side / size)))


def means(rows: Sequence[ObjectRecord], matching: str) -> dict[str, Any]:
    """Compute mean probabilities, and mean changes with their intervals, of IoU over objects that have both.

    Objects of one image share its pixels, so intervals leave out whole images.
    """
    by_image: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_image.setdefault(row["image"], []).append(row[matching])
    images = list(by_image.values())
    images_of_both = [
        [one for one in image if one["iou_before"] is not None and one["iou_after"] is not None] for image in images
    ]
    found, both = list(chain(*images)), list(chain(*images_of_both))
    return {
        "objects": len(found),
        "images": len(images),
        "p_before": _mean([one["p_before"] for one in found]),
        "p_after": _mean([one["p_after"] for one in found]),
        "change_of_p": _change(images, "p"),
        "found_in_both": len(both),
        "images_of_both": sum(1 for image in images_of_both if image),
        "iou_before": _mean([one["iou_before"] for one in both]),
        "iou_after": _mean([one["iou_after"] for one in both]),
        "change_of_iou": _change(images_of_both, "iou"),
    }


def change_less(rows: Sequence[ObjectRecord], smaller: Sequence[ObjectRecord], matching: str) -> Interval:
    """Compute by how much more the probability changes for these objects than for smaller ones of the same images."""
    changes: tuple[dict[str, list[float]], dict[str, list[float]]] = ({}, {})
    for kind, members in zip(changes, (rows, smaller), strict=True):
        for row in members:
            one = row[matching]
            kind.setdefault(row["image"], []).append(one["p_after"] - one["p_before"])
    images = dict.fromkeys([*changes[0], *changes[1]])
    first, second = ([kind.get(image, []) for image in images] for kind in changes)
    return grouped_difference_interval(first, second)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _change(images: Sequence[Sequence[Mapping[str, float]]], measure: str) -> Interval:
    return grouped_mean_interval(
        [[one[f"{measure}_after"] - one[f"{measure}_before"] for one in image] for image in images]
    )


def size_table(numbers: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Table:
    """Build the table of probability and IoU by size.

    Args:
        numbers: by detector and matching, "overall" and "by_size": results of `means`.
    """
    rows: list[tuple[Cell, ...]] = []
    for label, by_matching in numbers.items():
        for matching, summary in by_matching.items():
            for size, one in [*summary["by_size"].items(), (_ALL, summary["overall"])]:
                p, iou = one["change_of_p"], one["change_of_iou"]
                before, after = one["p_before"], one["p_after"]
                rows.append((label, matching, size, one["objects"], before, after, *p, one["found_in_both"], *iou))
    headings = ("detector", "matching", "size", "objects", "p before", "p after")
    changes = ("change of p", "p low", "p high", "found in both", "change of IoU", "IoU low", "IoU high")
    note = (
        "Sizes are square roots of box areas, in pixels. p is the probability of the true class. objects.csv has every "
        "object."
    )
    return Table("by_size", "Probability and IoU by size", (*headings, *changes), rows, note, digits=3)


def csv_line(row: ObjectRecord, sizes: Sequence[float]) -> dict[str, object]:
    """Flatten one object to a line of objects.csv."""
    measures = ("p_before", "p_after", "iou_before", "iou_after")
    about = {name: row[name] for name in ("detector", "image", "object", "class", "side")}
    measured = {f"{measure}, {matching}": row[matching][measure] for matching in MATCHINGS for measure in measures}
    return {**about, "size": nearest_size(row["side"], sizes), **measured}


def change_charts(numbers: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[Figure]:
    """Draw the changes of probability and IoU by size; see `size_table`."""
    figures = []
    for measure, quantity in (("change_of_p", "probability"), ("change_of_iou", "IoU")):
        for matching in MATCHINGS:
            series = {
                label: [
                    (float(size), one[measure])
                    for size, one in by_matching[matching]["by_size"].items()
                    if math.isfinite(one[measure].value)
                ]
                for label, by_matching in numbers.items()
            }
            figures.append(
                Figure(
                    f"{measure}_{matching.replace(' ', '_')}",
                    f"Change of {quantity} by size, {matching}",
                    lines(
                        series,
                        title=f"after re-texturing ({matching})",
                        place_title="square root of the box's area, pixels",
                        value_title=f"change of {quantity}",
                        logarithmic=True,
                    ),
                    "Means with intervals of 95 % (jackknife over images).",
                )
            )
    return figures
