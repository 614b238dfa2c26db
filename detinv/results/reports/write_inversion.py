"""The folder that an inversion leaves behind."""

from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from detinv.errors import ConfigError
from detinv.metrics.coco_ap import coco_ground_truth, coco_results
from detinv.results.io.files import prepare_out_dir, write_csv, write_json, write_png, write_text
from detinv.results.io.names import file_stems
from detinv.results.io.read import read_image
from detinv.results.io.record import InversionResult
from detinv.results.reports.report import render_report
from detinv.viz.overview import overview


def write_inversion(result: InversionResult, out_dir: str | Path, config_yaml: str, title: str) -> Path:
    """Write images, layouts, detections, metrics, losses, configuration, overview and report into `out_dir`.

    The files are `images/<layout id>.png` (8-bit RGB; ids made safe as file names), `layouts.json` (COCO ground
    truth that names those files), `detections.json` (COCO results; after a joint inversion
    `detections/<detector>.json`), `metrics.json`, `losses.csv`, `config.yaml`,
    `overview.png` and `report.html`. Each is whole or absent; everything is computed before anything is written,
    and `metrics.json` comes last, so a folder that has it has the rest.

    Args:
        config_yaml: the complete configuration of the run.
        title: heading of the report.

    Returns:
        The path of `overview.png`.

    Raises:
        OutputError: naming the path that cannot be written.
    """
    out_dir = Path(out_dir)
    stems = file_stems([layout.id for layout in result.layouts])
    truth = coco_ground_truth(result.layouts, result.class_names)
    for entry, stem in zip(truth["images"], stems, strict=True):
        entry["file_name"] = f"{stem}.png"
    results = {name: coco_results(result.layouts, found) for name, found in result.readings.items()}
    picture = overview(result.layouts, result.images, result.readings, result.class_names)
    report = render_report(result, config_yaml, title)

    prepare_out_dir(out_dir)
    prepare_out_dir(out_dir / "images")
    for stem, image in zip(stems, result.images, strict=True):
        # A run that keeps its folder wrote its images when they were finished; to read one takes a quarter of the time.
        if not _holds(out_dir / "images" / f"{stem}.png", image):
            write_png(out_dir / "images" / f"{stem}.png", image)
    write_json(out_dir / "layouts.json", truth)
    if len(results) == 1:
        write_json(out_dir / "detections.json", next(iter(results.values())))
    else:
        prepare_out_dir(out_dir / "detections")
        for stem, found in zip(file_stems(list(results)), results.values(), strict=True):
            write_json(out_dir / "detections" / f"{stem}.json", found)
    write_csv(out_dir / "losses.csv", result.losses)
    write_text(out_dir / "config.yaml", config_yaml)
    write_png(out_dir / "overview.png", picture)
    write_text(out_dir / "report.html", report)
    write_json(out_dir / "metrics.json", result.metrics)
    return out_dir / "overview.png"


def _holds(path: Path, image: UInt8[Tensor, "3 _ _"]) -> bool:
    """Whether a file is this image already."""
    try:
        return torch.equal(read_image(path), image.cpu())
    except ConfigError:
        return False
