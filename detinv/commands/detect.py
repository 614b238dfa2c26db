"""`detinv detect`: a detector's own inference over a folder of images, inverted or real."""

from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from detinv.commands import Build
from detinv.detectors.base import AbstractDetector
from detinv.errors import LayoutError
from detinv.inversion.run import detect_all, judge
from detinv.layouts.coco import load_coco
from detinv.layouts.coco_file import read_coco
from detinv.layouts.layout import Layout
from detinv.metrics.coco_ap import coco_results
from detinv.results.files import prepare_out_dir, write_json, write_png, write_text
from detinv.results.read import read_images
from detinv.viz.overview import detections_overview
from detinv.zoo.weights import weight_hash


def run(config: DictConfig, build: Build) -> None:
    """Detect in all images and write everything to `config.out_dir`."""
    detector: AbstractDetector = build(config.detector).to(config.device)
    layouts, names = _annotated(config, detector)
    names, images = read_images(config.images, names)
    if layouts is not None:
        _check_sizes(layouts, images, config.annotations)
    detections = detect_all(detector, images)
    described = layouts or [
        Layout(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), _size(image), name)
        for name, image in zip(names, images, strict=True)
    ]
    picture = detections_overview(
        images, names, detections, detector.class_names, layouts, score_thresh=config.score_thresh
    )
    out_dir = prepare_out_dir(config.out_dir)
    write_json(out_dir / "detections.json", coco_results(described, detections))
    write_text(out_dir / "config.yaml", OmegaConf.to_yaml(config))
    write_png(out_dir / "overview.png", picture)
    console = Console()
    if layouts is not None:
        metrics = judge(layouts, detections, detector.class_names)
        metrics |= {"images": len(images), "weight_hash": weight_hash(detector)}
        write_json(out_dir / "metrics.json", metrics)
        console.print(_table(metrics))
    console.print(f"picture: {out_dir / 'overview.png'}", soft_wrap=True)


def _annotated(config: DictConfig, detector: AbstractDetector) -> tuple[list[Layout] | None, list[str] | None]:
    """Layouts in the pixels of the annotated images, and the images' file names."""
    if config.annotations is None:
        return None, None
    coco = read_coco(Path(config.annotations))
    layouts = load_coco(config.annotations, detector.class_names)
    return layouts, [coco.imgs[image_id]["file_name"] for image_id in sorted(coco.imgs)]


def _check_sizes(layouts: list[Layout], images: list[torch.Tensor], annotations: str) -> None:
    for layout, image in zip(layouts, images, strict=True):
        if layout.image_size != _size(image):
            (height, width), (real_height, real_width) = layout.image_size, _size(image)
            raise LayoutError(
                f"{annotations}: image {layout.id} is annotated as {width} x {height} pixels, but its file has "
                f"{real_width} x {real_height}; use the annotations made for these files"
            )


def _size(image: torch.Tensor) -> tuple[int, int]:
    return image.shape[1], image.shape[2]


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
