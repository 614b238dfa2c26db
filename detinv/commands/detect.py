"""`detinv detect`: run a detector's own inference on a folder of images, inverted or real."""

from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from rich.table import Table

from detinv.commands import Build
from detinv.commands.photographs import load_photographs, size_of
from detinv.commands.terminal import console, literal
from detinv.detectors.base import AbstractDetector
from detinv.detectors.load import build_detector
from detinv.inversion.evaluation import evaluate
from detinv.layouts.layout import Layout
from detinv.metrics.coco_ap import coco_ground_truth, coco_results
from detinv.results.io.files import prepare_out_dir, write_json, write_png, write_text
from detinv.results.io.resume import check_folder
from detinv.runtime.devices import usable_device
from detinv.viz.overview import detections_overview
from detinv.zoo.weights import weight_hash


def run(config: DictConfig, build: Build) -> None:
    """Detect in all images and write everything to `config.out_dir`."""
    detector: AbstractDetector = build_detector(config.detector).to(usable_device(config.device))
    annotations = None if config.annotations is None else str(config.annotations)
    names, images, annotated = load_photographs(config.images, annotations, detector)
    check_folder(config)
    detections = detector.detect(images)
    picture = detections_overview(
        images,
        names,
        detections,
        detector.class_names,
        None if annotated is None else annotated.layouts,
        score_thresh=config.score_thresh,
    )
    out_dir = prepare_out_dir(config.out_dir)
    terminal = console()
    # What an earlier call with annotations, or without, has left does not belong to these detections.
    (out_dir / ("metrics.json" if annotated is None else "images.json")).unlink(missing_ok=True)
    if annotated is None:
        listed = _listed(names, images)
        write_json(out_dir / "images.json", _index(names, listed, detector))
        write_json(out_dir / "detections.json", coco_results(listed, detections))
    else:
        metrics = evaluate(annotated.layouts, detections, detector.class_names, annotated.crowds, annotated.truth)
        found = {**metrics, "images": len(images), "weight_hash": weight_hash(detector)}
        results = coco_results(annotated.layouts, detections, annotated.image_ids, annotated.category_ids)
        write_json(out_dir / "detections.json", results)
        write_json(out_dir / "metrics.json", found)
        terminal.print(_table(found))
    write_text(out_dir / "config.yaml", OmegaConf.to_yaml(config))
    write_png(out_dir / "overview.png", picture)
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
