"""One progress bar for all batches of an inversion."""

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
    """

    def __init__(self, progress: Progress, description: str, steps: int) -> None:
        self.progress = progress
        self.steps = steps
        self.task = progress.add_task(description, total=None)
        self._before = 0

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
