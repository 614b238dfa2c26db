"""What `detinv attribute` writes and prints once all images are explained."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxtyping import UInt8
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table as ConsoleTable
from torch import Tensor

from detinv.attribution.archive import AttributionArchive, summary
from detinv.attribution.pictures import attribution_overview
from detinv.commands.terminal import literal
from detinv.results.io.files import write_json, write_png, write_text
from detinv.results.io.images import read_image
from detinv.results.reports.findings import Figure, Findings, Table
from detinv.results.reports.write_findings import render_findings
from detinv.viz.image import Picture

# Pictures in the report, and rows of the overview; pictures of all images are in the folder.
_DRAWN = 12

Stored = Sequence[Mapping[str, Any]]
"""Entries of an `AttributionArchive`, one for each image."""


def write_report(
    out_dir: Path, config: DictConfig, stored: Stored, unmatched: Mapping[str, Sequence[int]], weights: str
) -> None:
    """Write attributions.json, metrics.json and report.html.

    Args:
        unmatched: by image, numbers of detections whose raw prediction is not known.
        weights: hash of the detector's weights.
    """
    entries = [{name: value for name, value in one.items() if name != "key"} for one in stored]
    write_json(out_dir / "attributions.json", {"images": entries, "unmatched": dict(unmatched), "weights": weights})
    rows = summary(stored)
    write_json(out_dir / "metrics.json", {"maps": rows, "preset": config.metric_preset})
    figures = [
        Figure(f"image_{number}", one["image"], _picture(out_dir / "pictures" / f"{one['file']}.png"))
        for number, one in enumerate([one for one in stored if one["attributions"]][:_DRAWN])
    ]
    tables = [_placement_table(rows), _measure_table(rows, str(config.metric_preset))] if rows else []
    findings = Findings({}, tables, figures)
    page = render_findings(findings, OmegaConf.to_yaml(config), "Why the detector decided so", {"weights": weights})
    write_text(out_dir / "report.html", page)


def write_overview(
    out_dir: Path,
    archive: AttributionArchive,
    stored: Stored,
    images: Mapping[str, UInt8[Tensor, "3 _ _"]],
    class_names: Sequence[str],
) -> Picture | None:
    """Write overview.png, with the first object of each image, and return it; None where no image has an object."""
    drawn = [one for one in stored if one["attributions"]]
    if not drawn:
        return None
    rows = []
    for one in drawn[:_DRAWN]:
        maps = archive.attributions(one, images[one["image"]], class_names)
        first = maps[0]
        rows.append(
            (one["image"], [each for each in maps if (each.object, each.method) == (first.object, first.method)])
        )
    found = attribution_overview(rows, len(drawn))
    write_png(out_dir / "overview.png", found)
    return found


def tell(terminal: Console, out_dir: Path, stored: Stored, unmatched: Mapping[str, Sequence[int]]) -> None:
    """Print where the maps lie, and the detections that could not be explained."""
    table = ConsoleTable("method", "question", "layer", "maps", "maximum in box", "energy in box")
    layers: dict[tuple[str, str], str] = {}
    for one in stored:
        for entry in one["attributions"]:
            layers.setdefault((entry["method"], entry["question"]), entry["layer"])
    for row in summary(stored):
        table.add_row(
            row["method"],
            row["question"],
            layers[row["method"], row["question"]],
            str(row["maps"]),
            _percent(row["maximum_in_box"]),
            _percent(row["energy_in_box"]),
        )
    if layers:
        terminal.print(table)
    else:
        terminal.print("no object was found in any image; lower score_thresh, or give annotations")
    for name, numbers in unmatched.items():
        which = ", ".join(map(str, numbers))
        terminal.print(f"{literal(name)}: the raw prediction of detection {which} is not known; not explained")
    terminal.print(f"report: {literal(out_dir / 'report.html')}", soft_wrap=True)


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{100 * share:.0f} %"


def _placement_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    return Table(
        "where_maps_lie",
        "Where the maps lie",
        ("method", "question", "maps", "maximum in box (%)", "energy in box (%)", "compactness"),
        [
            (
                row["method"],
                row["question"],
                row["maps"],
                100 * row["maximum_in_box"],
                100 * row["energy_in_box"],
                row["compactness"],
            )
            for row in rows
        ],
        "A map is brightest where, by its method, the answer depends most on what the photograph shows. Maximum in "
        "box: of how many maps this place lies in the explained object's own box. Energy in box: the share of a map's "
        "brightness in there. Compactness: mean distance of the energy from the maximum, in half diagonals of the box. "
        "A map that is zero everywhere has neither energy nor compactness, and is left out.",
    )


def _measure_table(rows: Sequence[Mapping[str, Any]], preset: str) -> Table:
    names = list(dict.fromkeys(name for row in rows for name, one in row["measures"].items() if one["maps"]))
    cells = []
    for row in rows:
        means = [row["measures"].get(name, {"maps": 0}) for name in names]
        shown = [f"{one['mean']:.3f} [{one['low']:.3f}, {one['high']:.3f}]" if one["maps"] else "-" for one in means]
        cells.append((row["method"], row["question"], *shown))
    title = f"Measures, preset {preset}"
    note = "Means with intervals of 95 %, bootstrap over maps. Of annotated objects, where there are annotations."
    headings = [name.replace("_", " ") for name in names]
    return Table("measures", title, ("method", "question", *headings), cells, note)


def _picture(path: Path) -> Picture:
    return read_image(path).permute(1, 2, 0).contiguous().numpy()
