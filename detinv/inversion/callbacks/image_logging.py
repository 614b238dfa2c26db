"""The current images and their average precision, to whatever dashboard is attached."""

import math
from typing import Any

import pytorch_lightning as pl
import torch

from detinv.inversion.module import Inversion
from detinv.layouts.layout import Layout
from detinv.metrics.coco_ap import average_precision
from detinv.viz.grid import image_grid
from detinv.viz.image import Picture


class ImageLogging(pl.Callback):
    """Every so many steps, one grid of images and the AP of the current images, as they would be saved.

    Args:
        layouts: of the batch, with masks where wanted, to judge against.
        every_n_steps: between two records; nothing is done where no logger is attached.
        first_step: added to step numbers, so that they rise over successive batches.
        max_images: in the grid.
    """

    def __init__(
        self, layouts: list[Layout], every_n_steps: int = 100, first_step: int = 0, max_images: int = 16
    ) -> None:
        self.layouts = layouts
        self.every_n_steps = every_n_steps
        self.first_step = first_step
        self.max_images = max_images

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: Inversion,
        outputs: Any,  # noqa: ANN401
        batch: Any,  # noqa: ANN401
        batch_idx: int,
    ) -> None:
        step = trainer.global_step - 1
        if not trainer.loggers or (step % self.every_n_steps and step != pl_module.steps - 1):
            return
        images = pl_module.images()
        with torch.autocast(pl_module.device.type, enabled=False):
            detections = pl_module.detector.detect(images)
        scores = average_precision(self.layouts, detections, pl_module.detector.class_names)
        metrics = {f"current/{name}": scores[name] for name in ("AP", "AP50") if math.isfinite(scores[name])}
        grid = image_grid(images[: self.max_images])
        for logger in trainer.loggers:
            logger.log_metrics(metrics, self.first_step + step)
            _log_grid(logger, grid, self.first_step + step)


def _log_grid(logger: pl.loggers.Logger, grid: Picture, step: int) -> None:
    if isinstance(logger, pl.loggers.WandbLogger):
        logger.log_image("images", [grid], step=step)
    elif isinstance(logger, pl.loggers.TensorBoardLogger):
        logger.experiment.add_image("images", grid, step, dataformats="HWC")
