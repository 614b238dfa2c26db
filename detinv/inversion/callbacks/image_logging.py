"""The current images and their average precision, to whatever dashboard is attached."""

import math

import pytorch_lightning as pl
import torch

from detinv.inversion.callbacks.base import AbstractStepCallback
from detinv.inversion.callbacks.loss_recorder import LossRecorder
from detinv.inversion.modules.base import AbstractPixelModule
from detinv.layouts.layout import Layout
from detinv.metrics.coco_ap import average_precision
from detinv.runtime.loggers import Dashboard
from detinv.viz.grid import image_grid


class ImageLogging(AbstractStepCallback):
    """Every so many steps, one grid of images and the AP of the current images, as they would be saved.

    Args:
        layouts: of the batch, to judge against.
        recorder: brought up to date before, so that step numbers never go backwards.
        dashboard: told; nothing is done where it has no logger.
        every_n_steps: between two records.
        first_step: added to step numbers, so that they rise over successive batches.
        max_images: in the grid.
    """

    def __init__(
        self,
        layouts: list[Layout],
        recorder: LossRecorder,
        dashboard: Dashboard,
        every_n_steps: int = 100,
        first_step: int = 0,
        max_images: int = 16,
    ) -> None:
        self.layouts = layouts
        self.recorder = recorder
        self.dashboard = dashboard
        self.every_n_steps = every_n_steps
        self.first_step = first_step
        self.max_images = max_images

    def after_step(self, trainer: pl.Trainer, module: AbstractPixelModule, step: int) -> None:
        if not self.dashboard or (step % self.every_n_steps and step != module.steps - 1):
            return
        self.recorder.flush()
        images = module.images()
        metrics: dict[str, float] = {}
        for member in module.ensemble:
            with torch.autocast(module.device.type, enabled=False):
                detections = member.detect(images)
            scores = average_precision(self.layouts, detections, module.ensemble.class_names)
            prefix = f"current/{member.name}" if len(module.ensemble) > 1 else "current"
            metrics |= {f"{prefix}/{name}": scores[name] for name in ("AP", "AP50") if math.isfinite(scores[name])}
        grid = image_grid(images[: self.max_images])
        self.dashboard.log(metrics, self.first_step + step)
        self.dashboard.show("images", grid, self.first_step + step)
