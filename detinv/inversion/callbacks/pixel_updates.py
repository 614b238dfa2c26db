"""Updates of the pixels, applied in one place because their order matters."""

from collections.abc import Sequence

import pytorch_lightning as pl

from detinv.inversion.callbacks.base import AbstractStepCallback
from detinv.inversion.modules.base import AbstractPixelModule
from detinv.inversion.pixels.updates import PixelUpdate


class PixelUpdates(AbstractStepCallback):
    """Applies updates in the given order after every optimiser step."""

    def __init__(self, updates: Sequence[PixelUpdate]) -> None:
        self.updates = tuple(updates)

    def after_step(self, trainer: pl.Trainer, module: AbstractPixelModule, step: int) -> None:
        for update in self.updates:
            update(module.pixels, step)
