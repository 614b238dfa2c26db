"""The base of callbacks of an inversion."""

from abc import ABC, abstractmethod
from typing import Any

import pytorch_lightning as pl

from detinv.inversion.modules.base import AbstractPixelModule


class AbstractStepCallback(pl.Callback, ABC):
    """A callback with something to do after every optimiser step."""

    @abstractmethod
    def after_step(self, trainer: pl.Trainer, module: AbstractPixelModule, step: int) -> None:
        """Run after the optimiser has moved the pixels; `step` counts 0, 1, ... within the batch of layouts."""

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, AbstractPixelModule)
        self.after_step(trainer, pl_module, trainer.global_step - 1)
