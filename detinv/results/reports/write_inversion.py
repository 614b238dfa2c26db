"""The folder that an inversion leaves behind."""

import json
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from detinv.errors import ConfigError
from detinv.metrics.coco_ap import coco_ground_truth, coco_results
from detinv.results.io.files import prepare_out_dir, remove_file, write_csv, write_json, write_png, write_text
from detinv.results.io.images import read_image
from detinv.results.io.names import file_stems
from detinv.results.reports.inversion_result import InversionResult
from detinv.results.reports.report import render_report
from detinv.viz.overview import overview


def write_inversion(result: InversionResult, out_dir: str | Path, title: str, config_yaml: str = "") -> Path:
    """Write images, layouts, detections, metrics, losses, overview and report into `out_dir`.

    The files are `images/<layout id>.png` (8-bit RGB; ids made safe as file names), `layouts.json` (COCO ground
    truth that names those files), `detections.json` (COCO results; of several detectors
    `detections/<detector>.json`), `metrics.json`, `losses.csv`, `overview.png`, `report.html` and, if there is a
    configuration, `config.yaml`. Each file is written whole or not at all. Everything is computed before anything is
    written, and an earlier `metrics.json` is removed first and the new one written last, so a folder that has it has
    the rest; images and detections of an earlier result are removed. A result without images leaves `metrics.json`
    alone.

    Args:
        result: the outcome of an inversion.
        out_dir: folder, created where it does not exist.
        title: heading of the report.
        config_yaml: the complete configuration of the run.

    Returns:
        The path of `report.html`, or of `metrics.json` when there is no image.

    Raises:
        OutputError: naming the path that cannot be written.
    """
    out_dir = Path(out_dir)
    if not result.images:
        write_json(prepare_out_dir(out_dir) / "metrics.json", result.metrics)
        return out_dir / "metrics.json"
    stems = file_stems([layout.id for layout in result.layouts])
    truth = coco_ground_truth(result.layouts, result.class_names)
    for entry, stem in zip(truth["images"], stems, strict=True):
        entry["file_name"] = f"{stem}.png"
    results = {name: coco_results(result.layouts, found) for name, found in result.member_detections.items()}
    picture = overview(result.layouts, result.images, result.member_detections, result.class_names)
    report = render_report(result, config_yaml, title)

    prepare_out_dir(out_dir)
    prepare_out_dir(out_dir / "images")
    # Those of an earlier result, or of a part of this one.
    remove_file(out_dir / "metrics.json")
    images = {out_dir / "images" / f"{stem}.png": image for stem, image in zip(stems, result.images, strict=True)}
    for path in _of_earlier(out_dir) - set(images):
        remove_file(path)
    for path, image in images.items():
        # A run that can be resumed has written its finished images already; reading one takes a quarter of the time.
        if not _holds(path, image):
            write_png(path, image)
    write_json(out_dir / "layouts.json", truth)
    if len(results) == 1:
        write_json(out_dir / "detections.json", next(iter(results.values())))
    else:
        prepare_out_dir(out_dir / "detections")
        for stem, found in zip(file_stems(list(results)), results.values(), strict=True):
            write_json(out_dir / "detections" / f"{stem}.json", found)
    write_csv(out_dir / "losses.csv", result.losses)
    if config_yaml:
        write_text(out_dir / "config.yaml", config_yaml)
    write_png(out_dir / "overview.png", picture)
    write_text(out_dir / "report.html", report)
    write_json(out_dir / "metrics.json", result.metrics)
    return out_dir / "report.html"


def _of_earlier(out_dir: Path) -> set[Path]:
    """List the images and detections that an earlier result has left in the folder, as its `layouts.json` has them."""
    try:
        names = [str(entry["file_name"]) for entry in json.loads((out_dir / "layouts.json").read_text())["images"]]
    except (OSError, ValueError, TypeError, KeyError):  # none, or a file of something else
        return set()
    images = {out_dir / "images" / name for name in names if Path(name).name == name}
    return {path for path in images if path.is_file()} | {
        path for path in (out_dir / "detections.json", *(out_dir / "detections").glob("*.json")) if path.is_file()
    }


def _holds(path: Path, image: UInt8[Tensor, "3 _ _"]) -> bool:
    """Whether the file at `path` holds exactly this image."""
    try:
        return torch.equal(read_image(path), image.cpu())
    except ConfigError:
        return False
