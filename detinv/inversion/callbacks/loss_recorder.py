"""Recording of loss terms over the steps: kept on the device, copied to the host from time to time, and logged."""

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from detinv.inversion.callbacks.base import AbstractStepCallback
from detinv.inversion.modules.base import AbstractPixelModule
from detinv.runtime.loggers import Dashboard


class LossRecorder(AbstractStepCallback):
    """Records the mean over the images of every term and of the weighted total.

    Images whose total is not finite do not count; a row without any has NaN.

    Args:
        every_n_steps: between two records; the last step is always recorded.
        first_step: added to the step numbers of loggers, so that they increase over successive batches.
        batch_number: written into each row.
        dashboard: receives the rows.

    Attributes:
        rows: one dict a record: "step", "batch", "total", then the terms.
    """

    _flush_every = 50

    def __init__(
        self, every_n_steps: int = 5, first_step: int = 0, batch_number: int = 0, dashboard: Dashboard | None = None
    ) -> None:
        self.every_n_steps = every_n_steps
        self.first_step = first_step
        self.batch_number = batch_number
        self.dashboard = dashboard or Dashboard()
        self.rows: list[dict[str, float]] = []
        self._pending: list[tuple[int, Tensor]] = []
        self._names: tuple[str, ...] = ()

    def after_step(self, trainer: pl.Trainer, module: AbstractPixelModule, step: int) -> None:
        last = step == module.steps - 1
        if (step % self.every_n_steps == 0 or last) and module.outcome is not None:
            outcome = module.outcome
            self._names = ("total", *outcome.terms)
            values, counted = torch.stack([outcome.total, *outcome.terms.values()]), torch.isfinite(outcome.total)
            mean = torch.where(counted, values, 0).sum(1) / counted.sum()
            self._pending.append((step, mean))
        if last or step % self._flush_every == self._flush_every - 1:
            self.flush()

    def flush(self) -> None:
        """Copy what is pending to the host and log it."""
        if not self._pending:
            return
        values = torch.stack([value for _, value in self._pending]).tolist()
        for (step, _), numbers in zip(self._pending, values, strict=True):
            row = dict(zip(self._names, numbers, strict=True))
            self.rows.append({"step": step, "batch": self.batch_number, **row})
            self.dashboard.log({f"loss/{name}": number for name, number in row.items()}, self.first_step + step)
        self._pending.clear()

    def state_dict(self) -> dict[str, Any]:
        self.flush()
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = list(state_dict["rows"])
