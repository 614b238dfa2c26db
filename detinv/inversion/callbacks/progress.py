"""One progress bar for all batches of an inversion; lines instead of it where there is no terminal."""

import time

import pytorch_lightning as pl
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from detinv.inversion.callbacks.base import AbstractStepCallback
from detinv.inversion.modules.base import AbstractPixelModule


def step_progress() -> Progress:
    """Make a progress display for steps, a context manager around the whole job.

    Lightning's own bar is one for each `Trainer.fit`, so it would start again with every batch.
    """
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("steps"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )


class StepProgress(AbstractStepCallback):
    """Shows the steps of all batches that are finished, and those of the current one, resumed ones included.

    Args:
        progress: the display, which draws at most every tenth of a second.
        description: in front of the bar.
        steps: of each batch.
        every_n_seconds: between two lines where the display draws no bar, as in a file.
    """

    def __init__(self, progress: Progress, description: str, steps: int, every_n_seconds: float = 30.0) -> None:
        self.progress = progress
        self.description = description
        self.steps = steps
        self.every_n_seconds = every_n_seconds
        self.task = progress.add_task(description, total=None)
        self._before = 0
        self._taken = 0
        self._started = self._said = time.monotonic()

    def begin_batch(self, finished: int, left: int) -> None:
        """Start the next batch.

        Args:
            finished: number of batches before it; those that memory did not suffice for do not count.
            left: number of batches still to be done, this one included.
        """
        self._before = finished * self.steps
        self.progress.update(self.task, completed=self._before, total=self._before + left * self.steps)

    def after_step(self, trainer: pl.Trainer, module: AbstractPixelModule, step: int) -> None:
        self.progress.update(self.task, completed=self._before + step + 1)
        self._taken += 1
        console, now = self.progress.console, time.monotonic()
        if not (console.is_terminal or console.is_jupyter) and now - self._said >= self.every_n_seconds:
            self._said = now
            console.print(self._line(now), highlight=False, soft_wrap=True)

    def _line(self, now: float) -> str:
        (task,) = [task for task in self.progress.tasks if task.id == self.task]
        # Steps of a run that is resumed took no time here.
        left = (now - self._started) / self._taken * ((task.total or 0) - task.completed)
        return f"{self.description}: {task.completed:.0f} of {task.total or 0:.0f} steps, about {_duration(left)} left"


def _duration(seconds: float) -> str:
    """Write a duration in the unit that suits it."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}" if unit == "h" else f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
