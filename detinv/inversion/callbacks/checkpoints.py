"""Saving the state of the running batch from time to time, so that a killed run can be resumed."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from detinv.inversion.callbacks.base import AbstractStepCallback
from detinv.inversion.modules.base import AbstractPixelModule

# A checkpoint may take up to this fraction, inverted, of the time since the last one.
_SHARE = 100


class Checkpoints(AbstractStepCallback):
    """Saves pixels, optimiser, schedule and the state of other callbacks, after the callbacks that change pixels.

    The file is written by Lightning's `Trainer.save_checkpoint`. Lightning's `ModelCheckpoint` is not used: it can
    neither bound the share of time that writing takes, nor write when an interruption asks for it, and a disk that is
    full would end the run.

    Args:
        save: called with a function that writes a checkpoint to a path, with further entries; see
            `Archive.save_state`.
        every_n_seconds: least time between two checkpoints; longer where writing takes more than a hundredth of it.
        urgent: whether a checkpoint is due at once.
    """

    def __init__(
        self,
        save: Callable[[Callable[[Path, dict[str, Any]], None]], object],
        every_n_seconds: float = 10.0,
        urgent: Callable[[], bool] = lambda: False,
    ) -> None:
        self.save = save
        self.every_n_seconds = every_n_seconds
        self.urgent = urgent
        self._last = time.monotonic()
        self._cost = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._last = time.monotonic()

    def after_step(self, trainer: pl.Trainer, module: AbstractPixelModule, step: int) -> None:
        now = time.monotonic()
        due = self.urgent() or now - self._last >= max(self.every_n_seconds, _SHARE * self._cost)
        if not due or step == module.steps - 1:
            return

        def write(path: Path, entries: dict[str, Any]) -> None:
            module.checkpoint_entries = entries
            try:
                trainer.save_checkpoint(path)
            except RuntimeError as error:
                # torch's error for a file that cannot be written.
                raise OSError(str(error).splitlines()[0]) from error

        self.save(write)
        self._last = time.monotonic()
        self._cost = self._last - now
