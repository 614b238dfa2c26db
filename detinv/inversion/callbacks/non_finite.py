"""Stopping an image whose loss is no longer finite, without any effect on the others."""

import pytorch_lightning as pl
import torch
from torch import Tensor

from detinv.inversion.callbacks.base import AbstractStepCallback
from detinv.inversion.modules.base import AbstractPixelModule


class StopNonFinite(AbstractStepCallback):
    """Resets an image whose loss or gradient is not finite to its last good state, and continues with smaller steps.

    After the first time, the image continues from there with its optimiser state cleared and steps a tenth as long.
    After the second time it stays unchanged until the end of the run. Runs before all updates of the pixels.

    Args:
        smaller: factor of the steps after the first time.

    Attributes:
        stopped: by row of the batch, after the run: the step and the term that was not finite the second time.
    """

    def __init__(self, smaller: float = 0.1) -> None:
        self.smaller = smaller
        self.stopped: dict[int, str] = {}
        self._times: Tensor | None = None
        self._step: Tensor | None = None
        self._term: Tensor | None = None
        self._good: Tensor | None = None
        self._terms: tuple[str, ...] = ()

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, AbstractPixelModule)
        if self._times is None:
            rows = torch.zeros(len(pl_module.pixels.values), dtype=torch.int64)
            self._times, self._step, self._term = rows, rows.clone(), rows.clone()
        device = pl_module.device
        assert self._step is not None and self._term is not None
        self._times, self._step, self._term = (state.to(device) for state in (self._times, self._step, self._term))
        self._good = None

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, AbstractPixelModule) and pl_module.outcome is not None
        values, outcome = pl_module.pixels.values, pl_module.outcome
        assert values.grad is not None
        bad = ~torch.isfinite(outcome.total) | ~torch.isfinite(values.grad.abs().flatten(1).amax(1))
        # Asking an accelerator would wait for it; there everything is done in any case.
        if bad.device.type != "cpu" or bool(bad.any()):
            self._take_back(trainer, pl_module, bad)
        self._good = values.detach().clone()

    @torch.no_grad()
    def _take_back(self, trainer: pl.Trainer, module: AbstractPixelModule, bad: Tensor) -> None:
        assert module.outcome is not None and self._times is not None
        values, terms = module.pixels.values, module.outcome.terms
        assert values.grad is not None and self._step is not None and self._term is not None
        rows = bad.view(-1, *[1] * (values.ndim - 1))
        if self._good is not None:
            values.copy_(torch.where(rows, self._good, values))
        values.grad.copy_(torch.where(rows, 0.0, values.grad))
        for state in trainer.optimizers[0].state.get(values, {}).values():
            if isinstance(state, Tensor) and state.shape == values.shape:
                state.copy_(torch.where(rows, 0.0, state))
        self._terms = tuple(terms)
        finite = torch.stack([torch.isfinite(value) for value in terms.values()])
        # Number of the first term that is not finite; the number of terms if only the gradient is not.
        culprit = torch.cat([~finite, torch.ones_like(finite[:1])]).int().argmax(0)
        second = bad & (self._times == 1)
        self._step.copy_(torch.where(second, trainer.global_step, self._step))
        self._term.copy_(torch.where(second, culprit, self._term))
        self._times += bad

    @torch.no_grad()
    def after_step(self, trainer: pl.Trainer, module: AbstractPixelModule, step: int) -> None:
        assert self._times is not None and self._good is not None
        if self._times.device.type == "cpu" and not bool(self._times.any()):
            return
        values = module.pixels.values
        # From numbers of Python alone: a table of them would have to be copied to the device, which waits for it.
        times = self._times.view(-1, *[1] * (values.ndim - 1))
        factor = torch.where(times == 0, 1.0, torch.where(times == 1, self.smaller, 0.0)).to(values.dtype)
        shorter = torch.where(factor == 1, values, self._good + factor * (values - self._good))
        values.copy_(shorter)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert self._times is not None and self._step is not None and self._term is not None
        names = [*(f"loss term {name!r} is" for name in self._terms), "the gradient is"]
        for row in torch.nonzero(self._times >= 2)[:, 0].tolist():
            what = names[min(int(self._term[row]), len(names) - 1)]
            self.stopped[row] = f"{what} not finite at step {int(self._step[row])}, even with smaller steps"

    def state_dict(self) -> dict[str, object]:
        return {"times": self._times, "step": self._step, "term": self._term, "terms": list(self._terms)}

    def load_state_dict(self, state_dict: dict) -> None:
        self._times, self._step, self._term = (state_dict[name] for name in ("times", "step", "term"))
        self._terms = tuple(state_dict["terms"])
