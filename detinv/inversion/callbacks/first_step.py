"""The duration of the first step, in which libraries compile or prepare for an input size."""

import time

import pytorch_lightning as pl
import torch

from detinv.inversion.callbacks.base import AbstractStepCallback
from detinv.inversion.modules.base import AbstractPixelModule


class FirstStep(AbstractStepCallback):
    """Times the first step that a trainer takes.

    Attributes:
        seconds: None until then.
    """

    def __init__(self) -> None:
        self.seconds: float | None = None
        self._started = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._started = time.perf_counter()

    def after_step(self, trainer: pl.Trainer, module: AbstractPixelModule, step: int) -> None:
        if self.seconds is not None:
            return
        if module.device.type == "cuda":
            torch.cuda.synchronize(module.device)
        self.seconds = time.perf_counter() - self._started
