"""Numbers of an inversion as tables of its report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from detinv.layouts.layout import Detections
from detinv.metrics.redetection import redetection
from detinv.results.reports.curves import Curve, line_colour
from detinv.results.reports.inversion_result import InversionResult
from detinv.results.reports.page_table import PageCell, PageTable, number_cells, number_text, percent_text
from detinv.viz.palette import class_colour, hex_code

_MEANINGS = {
    "AP": "average precision in percent, mean over IoU 0.50 to 0.95 (COCO), by boxes",
    "AP50": "average precision at IoU 0.50",
    "AP75": "average precision at IoU 0.75",
    "APs": "AP of objects below 32 x 32 pixels",
    "APm": "AP of objects between 32 x 32 and 96 x 96 pixels",
    "APl": "AP of objects above 96 x 96 pixels",
    "mask_AP": "average precision in percent, mean over IoU 0.50 to 0.95, by masks",
    "mask_AP50": "mask AP at IoU 0.50",
    "mask_AP75": "mask AP at IoU 0.75",
    "objects": "objects in the layouts",
    "redetected": "objects found with their class, score > 0.5 and IoU > 0.5",
    "false_positives": "detections with score > 0.5 that match no object",
    "AP_of_other_layouts": "control: AP of the same detections against the layout of the next image",
    "striped_objects": "objects whose class has stripes in a known direction",
    "planted_orientation": "share of them whose strongest spatial frequency lies within 15 degrees of it",
    "steps": "optimiser updates of each image",
    "seconds": "duration of the inversion",
    "seconds_per_step": "duration divided by the number of updates of a batch, logging included",
    "first_step_seconds": "duration of the first step, compilation included",
    "images": "layouts that were inverted",
    "batch_size": "images optimised together",
    "seed": "seed of start images and augmentations",
    "weight_hash": "hash of the detector's weights, the same before and after",
}


@dataclass(frozen=True)
class Tile:
    """One headline number of a report, with its unit in small print."""

    name: str
    value: str
    unit: str = ""


def tiles(metrics: Mapping[str, object]) -> list[Tile]:
    """Return the few numbers that people look for first, as far as `metrics` has them."""
    found = []
    for key, name in (("AP", "AP"), ("AP50", "AP50"), ("mask_AP", "mask AP")):
        if key in metrics:
            found.append(Tile(name, percent_text(metrics[key])))
    objects, redetected = metrics.get("objects"), metrics.get("redetected")
    if objects is not None and redetected is not None:
        found.append(Tile("objects found", number_text(redetected), f"of {number_text(objects)}"))
    if "false_positives" in metrics:
        found.append(Tile("false positives", number_text(metrics["false_positives"])))
    if "seconds" in metrics:
        found.append(Tile("time", number_text(metrics["seconds"]), "s"))
    return found


def metrics_table(metrics: Mapping[str, object]) -> PageTable:
    """Return all metrics but those of single classes and the versions, which have tables of their own."""
    rows = []
    for key, value in metrics.items():
        if "/" not in key and not isinstance(value, Mapping):
            text = percent_text(value) if key.removeprefix("mask_").startswith("AP") else number_text(value)
            kind = "text" if isinstance(value, str) else "number"
            rows.append([PageCell(key), PageCell(text, kind), PageCell(_MEANINGS.get(key, ""), "faint")])
    return PageTable([PageCell("metric"), PageCell("value", "number"), PageCell("meaning")], rows)


def class_table(result: InversionResult) -> PageTable:
    """Return objects, redetections and AP of each class that occurs in the layouts or in false positives."""
    has_masks = any(key.startswith("mask_AP/") for key in result.metrics)
    rows = []
    for label, name in enumerate(result.class_names):
        layouts = [layout.select(layout.labels == label) for layout in result.layouts]
        counts = redetection(layouts, [_of_class(found, label) for found in result.detections])
        if not counts["objects"] and not counts["false_positives"]:
            continue
        texts = [str(counts[key]) for key in ("objects", "redetected", "false_positives")]
        texts.append(percent_text(result.metrics.get(f"AP/{name}")))
        if has_masks:
            texts.append(percent_text(result.metrics.get(f"mask_AP/{name}")))
        rows.append([PageCell(name, swatch=hex_code(class_colour(label))), *number_cells(texts)])
    headings = ["objects", "found", "false positives", "AP", *(["mask AP"] if has_masks else [])]
    return PageTable([PageCell("class"), *number_cells(headings)], rows)


def member_table(result: InversionResult) -> PageTable:
    """Return the metrics of each detector of a joint inversion."""
    keys = ("AP", "AP50", "AP75", "mask_AP", "redetected", "false_positives")
    rows = []
    for name in result.member_detections:
        values = [result.metrics.get(f"{name}/{key}") for key in keys]
        texts = [percent_text(v) if "AP" in key else number_text(v) for key, v in zip(keys, values, strict=True)]
        rows.append([PageCell(name), *number_cells(texts)])
    return PageTable([PageCell("detector"), *number_cells([key.replace("_", " ") for key in keys])], rows)


def curve_table(curves: Sequence[Curve]) -> PageTable:
    """Return the legend of the loss curves, with first and final values."""
    rows = []
    for number, curve in enumerate(curves):
        ends = [f"{curve.points[end][1]:.4g}" for end in (0, -1)]
        rows.append([PageCell(curve.term, stroke=line_colour(number)), *number_cells(ends)])
    return PageTable([PageCell("term"), *number_cells(["first", "final"])], rows)


def _of_class(found: Detections, label: int) -> Detections:
    return replace(found, masks=None).select(found.labels == label)
