"""Ends a run where a request to stop finds it."""

import pytorch_lightning as pl

from detinv.inversion.callbacks.base import AbstractStepCallback
from detinv.inversion.modules.base import AbstractPixelModule
from detinv.runtime.interrupts import Interruption


class StopWhenAsked(AbstractStepCallback):
    """Ends a run after the step in which it was asked to; after all other callbacks."""

    def __init__(self, interruption: Interruption) -> None:
        self.interruption = interruption

    def after_step(self, trainer: pl.Trainer, module: AbstractPixelModule, step: int) -> None:
        # A batch that is done anyway may end as usual.
        if self.interruption.asked and step < module.steps - 1:
            raise KeyboardInterrupt
