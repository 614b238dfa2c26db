"""Loss terms over the steps: kept on the device, copied to the host now and then, logged and checked."""

import math

import pytorch_lightning as pl
import torch
from torch import Tensor

from detinv.errors import DetinvError
from detinv.inversion.callbacks.base import AbstractStepCallback
from detinv.inversion.pixel_module import AbstractPixelModule


class NonFiniteLossError(DetinvError):
    """A loss term became infinite or NaN."""


class LossRecorder(AbstractStepCallback):
    """Records the mean over the images of every term and of the weighted total.

    Args:
        every_n_steps: between two records; the last step is always recorded.
        first_step: added to step numbers handed to loggers, so that they rise over successive batches.
        batch_number: written into each row.

    Attributes:
        rows: one dict a record: "step", "batch", "total", then the terms.

    Raises:
        NonFiniteLossError: naming step and term; at the latest 50 steps after it happened.
    """

    _flush_every = 50

    def __init__(self, every_n_steps: int = 5, first_step: int = 0, batch_number: int = 0) -> None:
        self.every_n_steps = every_n_steps
        self.first_step = first_step
        self.batch_number = batch_number
        self.rows: list[dict[str, float]] = []
        self._pending: list[tuple[int, Tensor]] = []
        self._names: tuple[str, ...] = ()

    def after_step(self, trainer: pl.Trainer, module: AbstractPixelModule, step: int) -> None:
        last = step == module.steps - 1
        if (step % self.every_n_steps == 0 or last) and module.outcome is not None:
            outcome = module.outcome
            self._names = ("total", *outcome.terms)
            self._pending.append((step, torch.stack([outcome.total, *outcome.terms.values()]).mean(1)))
        if last or step % self._flush_every == self._flush_every - 1:
            self.flush(trainer)

    def flush(self, trainer: pl.Trainer) -> None:
        """Copy what is pending to the host, check it, log it."""
        if not self._pending:
            return
        values = torch.stack([value for _, value in self._pending]).tolist()
        for (step, _), numbers in zip(self._pending, values, strict=True):
            row = dict(zip(self._names, numbers, strict=True))
            for name, number in row.items():
                if not math.isfinite(number):
                    where = f"at step {step} of batch {self.batch_number}"
                    raise NonFiniteLossError(f"loss term {name!r} is {number} {where}; smaller steps may help")
            self.rows.append({"step": step, "batch": self.batch_number, **row})
            for logger in trainer.loggers:
                logger.log_metrics({f"loss/{name}": number for name, number in row.items()}, self.first_step + step)
        self._pending.clear()
