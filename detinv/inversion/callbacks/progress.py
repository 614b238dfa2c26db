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
    """Advances `progress` by one at every step, drawing at most every tenth of a second."""

    def __init__(self, progress: Progress, description: str, total: int) -> None:
        self.progress = progress
        self.task = progress.add_task(description, total=total)

    def after_step(self, trainer: pl.Trainer, module: AbstractPixelModule, step: int) -> None:
        self.progress.advance(self.task)
