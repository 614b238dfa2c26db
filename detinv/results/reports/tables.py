"""The tables of a report, as HTML."""

from collections.abc import Mapping, Sequence
from numbers import Real

import torch

from detinv.layouts.layout import Detections
from detinv.metrics.redetection import redetection
from detinv.results.reports.curves import COLOURS, Curve
from detinv.results.reports.escape import escaped
from detinv.results.reports.inversion_result import InversionResult
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
    "objects": "objects asked for",
    "redetected": "objects found with their class, score > 0.5 and IoU > 0.5",
    "false_positives": "detections with score > 0.5 that match no object",
    "AP_of_other_layouts": "control: the same detections against the next image's layout",
    "striped_objects": "objects whose class has stripes of a known direction",
    "planted_orientation": "share of them whose strongest spatial frequency lies within 15 degrees of it",
    "steps": "updates of each image",
    "seconds": "time of the inversion",
    "seconds_per_step": "time of the inversion by updates of a batch, logging included",
    "images": "layouts inverted",
    "batch_size": "images optimised together",
    "seed": "of start images and augmentations",
    "weight_hash": "of the detector's weights, equal before and after",
}


def tiles(metrics: Mapping[str, object]) -> str:
    """The few numbers one looks for first."""
    shown = []
    for key, name in (("AP", "AP"), ("AP50", "AP50"), ("mask_AP", "mask AP")):
        if key in metrics:
            shown.append((name, _percent(metrics[key])))
    objects, redetected = metrics.get("objects"), metrics.get("redetected")
    if objects is not None and redetected is not None:
        shown.append(("objects found", f"{_number(redetected)} <small>of {_number(objects)}</small>"))
    if "false_positives" in metrics:
        shown.append(("false positives", _number(metrics["false_positives"])))
    if "seconds" in metrics:
        shown.append(("time", f"{_number(metrics['seconds'])} <small>s</small>"))
    if not shown:
        return ""
    return f'<dl class="tiles">{"".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in shown)}</dl>'


def metrics_table(metrics: Mapping[str, object]) -> str:
    """All metrics but those of single classes and the versions, which have tables of their own."""
    rows = []
    for key, value in metrics.items():
        if "/" not in key and not isinstance(value, Mapping):
            shown = _percent(value) if key.removeprefix("mask_").startswith("AP") else _number(value)
            kind = "text" if isinstance(value, str) else "number"
            meaning = f'<td class="faint">{_MEANINGS.get(key, "")}</td>'
            rows.append(f'<tr><td>{escaped(key)}</td><td class="{kind}">{shown}</td>{meaning}</tr>')
    return _table(("metric", "#value", "meaning"), rows)


def class_table(result: InversionResult) -> str:
    """Objects, what was found of them and AP of each class that was asked for or falsely reported."""
    has_masks = any(key.startswith("mask_AP/") for key in result.metrics)
    rows = []
    for label, name in enumerate(result.class_names):
        layouts = [layout.select(layout.labels == label) for layout in result.layouts]
        counts = redetection(layouts, [_of_class(found, label) for found in result.detections])
        if not counts["objects"] and not counts["false_positives"]:
            continue
        cells = [str(counts["objects"]), str(counts["redetected"]), str(counts["false_positives"])]
        cells.append(_percent(result.metrics.get(f"AP/{name}")))
        if has_masks:
            cells.append(_percent(result.metrics.get(f"mask_AP/{name}")))
        swatch = f'<span class="swatch" style="background:{hex_code(class_colour(label))}"></span>'
        numbers = "".join(f'<td class="number">{cell}</td>' for cell in cells)
        rows.append(f"<tr><td>{swatch}{escaped(name)}</td>{numbers}</tr>")
    masks = ("#mask AP",) if has_masks else ()
    return _table(("class", "#objects", "#found", "#false positives", "#AP", *masks), rows)


def reader_table(result: InversionResult) -> str:
    """What each detector of a joint inversion reads in the images."""
    keys = ("AP", "AP50", "AP75", "mask_AP", "redetected", "false_positives")
    rows = []
    for name in result.member_detections:
        values = [result.metrics.get(f"{name}/{key}") for key in keys]
        shown = [_percent(value) if "AP" in key else _number(value) for key, value in zip(keys, values, strict=True)]
        cells = "".join(f'<td class="number">{cell}</td>' for cell in shown)
        rows.append(f"<tr><td>{escaped(name)}</td>{cells}</tr>")
    return _table(("detector", *(f"#{key.replace('_', ' ')}" for key in keys)), rows)


def curve_table(curves: Sequence[Curve]) -> str:
    """The legend of the loss curves, with first and final values."""
    rows = []
    for number, curve in enumerate(curves):
        stroke = f'<span class="stroke" style="background:var(--line-{number % COLOURS})"></span>'
        values = "".join(f'<td class="number">{curve.points[end][1]:.4g}</td>' for end in (0, -1))
        rows.append(f"<tr><td>{stroke}{escaped(curve.term)}</td>{values}</tr>")
    return _table(("term", "#first", "#final"), rows)


def versions_table(metrics: Mapping[str, object]) -> str:
    """What the run was made with, from `metrics["versions"]`; an empty text where that is missing."""
    versions = metrics.get("versions")
    if not isinstance(versions, Mapping):
        return ""
    rows = [f"<tr><td>{escaped(str(k))}</td><td>{escaped(str(v))}</td></tr>" for k, v in versions.items()]
    return _table(("package", "version"), rows)


def _table(headings: Sequence[str], rows: Sequence[str]) -> str:
    """A heading that begins with # stands above a column of numbers."""
    cells = "".join(
        f'<th class="number">{heading[1:]}</th>' if heading.startswith("#") else f"<th>{heading}</th>"
        for heading in headings
    )
    body = "".join(rows)
    return f'<div class="scroll"><table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>'


def _percent(value: object) -> str:
    """One decimal, so that columns of percentages line up."""
    return f"{float(value):.1f}" if isinstance(value, Real) and value == value else _number(value)


def _number(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, Real):
        return "&ndash;" if value is None else escaped(str(value))
    number = float(value)
    if number != number:
        return "&ndash;"
    if number == int(number) and abs(number) < 1e15:
        return str(int(number))
    return f"{number:.1f}" if abs(number) >= 10 else f"{number:.3g}"


def _of_class(found: Detections, label: int) -> Detections:
    keep = torch.nonzero(found.labels == label)[:, 0]
    return Detections(found.boxes[keep], found.scores[keep], found.labels[keep], found.image_size)
