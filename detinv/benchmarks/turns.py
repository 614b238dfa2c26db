"""Different things timed in turns, within one process: what slows the machine for a while slows all of them."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import pytorch_lightning as pl
import torch

from detinv.inversion.callbacks.base import AbstractStepCallback
from detinv.inversion.modules.base import AbstractPixelModule
from detinv.inversion.modules.network import cpu_threads

STEP = "step"
"""What full steps are called among the things that take turns."""


class Turns(AbstractStepCallback):
    """Lets a round of full steps pass, then does other things as many times; all are timed.

    Args:
        others: by name; each is done once a step, with all threads of the process.
        steps_per_round: of each kind, before the next has its turn.

    Attributes:
        seconds: of each round, by name; of full steps as `STEP`.
    """

    def __init__(self, others: Mapping[str, Callable[[AbstractPixelModule], object]], steps_per_round: int) -> None:
        self.others = dict(others)
        self.steps_per_round = steps_per_round
        self.seconds: dict[str, list[float]] = {name: [] for name in (STEP, *others)}
        # A run may leave to its own parts how threads are shared out.
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
    """Seconds on a clock that never goes back, once the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def ratio(above: Sequence[float], below: Sequence[float]) -> dict[str, float]:
    """Median and quartiles of the rounds' ratios: "median", "low", "high".

    Args:
        above, below: seconds of the same rounds, at least two.
    """
    found = sorted(a / b for a, b in zip(above, below, strict=True))
    low, median, high = statistics.quantiles(found, n=4, method="inclusive")
    return {"median": median, "low": low, "high": high}
