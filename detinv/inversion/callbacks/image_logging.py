"""Logging of the current images and their average precision."""

import math

import pytorch_lightning as pl
import torch

from detinv.inversion.callbacks.base import AbstractStepCallback
from detinv.inversion.callbacks.loss_recorder import LossRecorder
from detinv.inversion.modules.base import AbstractPixelModule
from detinv.inversion.modules.workers import cpu_threads
from detinv.layouts.layout import Layout
from detinv.metrics.coco_ap import average_precision
from detinv.runtime.loggers import Dashboard
from detinv.viz.grid import image_grid


class ImageLogging(AbstractStepCallback):
    """Logs a grid of images, and the AP of the current images as they would be saved, every few steps.

    Args:
        layouts: of the batch, to evaluate against.
        recorder: flushed before, so that step numbers never decrease.
        dashboard: receives images and numbers; without a logger nothing is computed.
        every_n_steps: between two logs; the last step is always logged.
        first_step: added to step numbers, so that they increase over successive batches.
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
            # Steps run on one thread, except for the network; inference is all network.
            with torch.autocast(module.device.type, enabled=False), cpu_threads(member.network.threads):
                detections = member.detect(images)
            scores = average_precision(self.layouts, detections, module.ensemble.class_names)
            prefix = f"current/{member.name}" if len(module.ensemble) > 1 else "current"
            metrics |= {f"{prefix}/{name}": scores[name] for name in ("AP", "AP50") if math.isfinite(scores[name])}
        grid = image_grid(images[: self.max_images])
        self.dashboard.log(metrics, self.first_step + step)
        self.dashboard.show("images", grid, self.first_step + step)
