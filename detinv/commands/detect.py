"""`detinv detect`: run a detector's own inference on a folder of images, inverted or real."""

from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from rich.table import Table

from detinv.commands import Build
from detinv.commands.photographs import load_photographs, size_of
from detinv.commands.terminal import console, literal
from detinv.detectors.base import AbstractDetector
from detinv.detectors.load import build_detector
from detinv.inversion.evaluation import evaluate
from detinv.layouts.layout import Layout
from detinv.metrics.coco_ap import coco_ground_truth, coco_results
from detinv.metrics.coco_truth import AnnotatedImages
from detinv.results.io.files import write_json, write_png
from detinv.results.io.resume import replace_results, replaced_folder
from detinv.runtime.devices import usable_device
from detinv.viz.overview import detections_overview
from detinv.zoo.weights import weight_hash


def run(config: DictConfig, build: Build) -> None:
    """Detect in all images and write everything to `config.out_dir`."""
    detector: AbstractDetector = build_detector(config.detector).to(usable_device(config.device))
    annotations = None if config.annotations is None else str(config.annotations)
    names, images, annotated = load_photographs(config.images, annotations, detector)
    with replaced_folder(config) as out_dir:
        _detect(config, detector, names, images, annotated, out_dir)


def _detect(
    config: DictConfig,
    detector: AbstractDetector,
    names: list[str],
    images: list[torch.Tensor],
    annotated: AnnotatedImages | None,
    out_dir: Path,
) -> None:
    detections = detector.detect(images)
    picture = detections_overview(
        images,
        names,
        detections,
        detector.class_names,
        None if annotated is None else annotated.layouts,
        score_thresh=config.score_thresh,
    )
    terminal = console()
    if annotated is None:
        listed = _listed(names, images)
        about = {"images.json": _index(names, listed, detector)}
        results = coco_results(listed, detections)
    else:
        metrics = evaluate(annotated.layouts, detections, detector.class_names, annotated.crowds, annotated.truth)
        about = {"metrics.json": {**metrics, "images": len(images), "weight_hash": weight_hash(detector)}}
        results = coco_results(annotated.layouts, detections, annotated.image_ids, annotated.category_ids)
        # Before anything is written: a full disk does not cost it.
        terminal.print(_table(about["metrics.json"]))
    replace_results(out_dir, config, "metrics.json", "images.json", "detections.json", "overview.png")
    write_json(out_dir / "detections.json", results)
    write_png(out_dir / "overview.png", picture)
    for name, content in about.items():
        write_json(out_dir / name, content)
    terminal.print(f"picture: {literal(out_dir / 'overview.png')}", soft_wrap=True)


def _listed(names: list[str], images: list[torch.Tensor]) -> list[Layout]:
    """Return an empty layout for each image."""
    none, no_labels = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    return [Layout(none, no_labels, size_of(image), name) for name, image in zip(names, images, strict=True)]


def _index(names: list[str], listed: list[Layout], detector: AbstractDetector) -> dict[str, Any]:
    """Return the file name of each image id in the results, in COCO's format."""
    index = coco_ground_truth(listed, detector.class_names)
    for entry, name in zip(index["images"], names, strict=True):
        entry["file_name"] = name
    return {"images": index["images"], "categories": index["categories"]}


def _table(metrics: dict[str, Any]) -> Table:
    table = Table("images", "objects", "AP", "AP50", "AP75", "redetected", "false positives")
    table.add_row(
        str(metrics["images"]),
        str(metrics["objects"]),
        *(f"{metrics[name]:.1f}" for name in ("AP", "AP50", "AP75")),
        str(metrics["redetected"]),
        str(metrics["false_positives"]),
    )
    return table
