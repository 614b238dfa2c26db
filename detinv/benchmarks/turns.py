"""Timing several things in turns within one process, so that a busy machine slows all of them alike."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import pytorch_lightning as pl
import torch

from detinv.inversion.callbacks.base import AbstractStepCallback
from detinv.inversion.modules.base import AbstractPixelModule
from detinv.inversion.modules.workers import cpu_threads

STEP = "step"
"""The name of full steps."""


class Turns(AbstractStepCallback):
    """Alternates rounds of full steps with rounds of other functions, and times all of them.

    Args:
        others: by name; each is called once per step, with all threads of the process.
        steps_per_round: steps of one kind before the next has its turn.

    Attributes:
        seconds: of each round, by name; full steps are named `STEP`.
    """

    def __init__(self, others: Mapping[str, Callable[[AbstractPixelModule], object]], steps_per_round: int) -> None:
        self.others = dict(others)
        self.steps_per_round = steps_per_round
        self.seconds: dict[str, list[float]] = {name: [] for name in (STEP, *others)}
        # An inversion changes the number of threads while it runs.
        self._threads = torch.get_num_threads()
        self._started = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._started = now(pl_module.device)

    def after_step(self, trainer: pl.Trainer, module: AbstractPixelModule, step: int) -> None:
        if (step + 1) % self.steps_per_round:
            return
        self.seconds[STEP].append(now(module.device) - self._started)
        with torch.enable_grad(), cpu_threads(self._threads):
            for name, other in self.others.items():
                started = now(module.device)
                for _ in range(self.steps_per_round):
                    other(module)
                self.seconds[name].append(now(module.device) - started)
        self._started = now(module.device)


def now(device: torch.device) -> float:
    """Wait for the device to finish, then return the time of a monotonic clock in seconds."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def ratio(above: Sequence[float], below: Sequence[float]) -> dict[str, float]:
    """Return "median", "low" and "high", median and quartiles of the ratios of the rounds.

    Args:
        above, below: seconds of the same rounds, at least two.
    """
    found = sorted(a / b for a, b in zip(above, below, strict=True))
    low, median, high = statistics.quantiles(found, n=4, method="inclusive")
    return {"median": median, "low": low, "high": high}
