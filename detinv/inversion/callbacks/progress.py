"""One progress bar for all batches of an inversion."""

from typing import Any

import pytorch_lightning as pl
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from detinv.inversion.module import Inversion


def step_progress() -> Progress:
    """A rich progress display for steps; used as a context manager around the whole job."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("steps"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )


class StepProgress(pl.Callback):
    """Advances `progress` by one at every step, drawing at most every tenth of a second."""

    def __init__(self, progress: Progress, description: str, total: int) -> None:
        self.progress = progress
        self.task = progress.add_task(description, total=total)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: Inversion,
        outputs: Any,  # noqa: ANN401
        batch: Any,  # noqa: ANN401
        batch_idx: int,
    ) -> None:
        self.progress.advance(self.task)
