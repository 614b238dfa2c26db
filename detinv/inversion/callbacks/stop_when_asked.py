"""Ending a run when that is asked for."""

from collections.abc import Callable

import pytorch_lightning as pl

from detinv.inversion.callbacks.base import AbstractStepCallback
from detinv.inversion.modules.base import AbstractPixelModule


class StopWhenAsked(AbstractStepCallback):
    """Ends a run after the current step, by KeyboardInterrupt; the last of all callbacks.

    Args:
        asked: whether the run shall end.
    """

    def __init__(self, asked: Callable[[], bool]) -> None:
        self.asked = asked

    def after_step(self, trainer: pl.Trainer, module: AbstractPixelModule, step: int) -> None:
        # A batch that is finished anyway may end as usual.
        if self.asked() and step < module.steps - 1:
            raise KeyboardInterrupt
