"""One process's share of an inversion, batch by batch, and what all shares come to together."""

import gc
import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytorch_lightning as pl
import torch
from jaxtyping import UInt8
from torch import Tensor

from detinv.inversion.callbacks.checkpoints import Checkpoints
from detinv.inversion.callbacks.first_step import FirstStep
from detinv.inversion.callbacks.image_logging import ImageLogging
from detinv.inversion.callbacks.loss_recorder import LossRecorder
from detinv.inversion.callbacks.non_finite import StopNonFinite
from detinv.inversion.callbacks.progress import StepProgress, step_progress
from detinv.inversion.callbacks.stop_when_asked import StopWhenAsked
from detinv.inversion.fitting import fit_batch
from detinv.inversion.modules.ensemble import Ensemble
from detinv.inversion.plan import halved, plan
from detinv.inversion.preset import Preset
from detinv.inversion.resume.archive import Archive, Outcome
from detinv.layouts.layout import Layout
from detinv.runtime.interrupts import Interruption
from detinv.runtime.loggers import Dashboard
from detinv.runtime.processes import Processes

_LOG = logging.getLogger("detinv")


@dataclass
class Done:
    """What one process has, as plain data; indices are those of the job's layouts."""

    batches: list[tuple[list[int], Outcome]] = field(default_factory=list)
    missing: dict[int, str] = field(default_factory=dict)
    interrupted: bool = False


@dataclass
class Gathered:
    """The same of all processes."""

    images: dict[int, UInt8[Tensor, "3 _ _"]]
    rows: list[tuple[int, Sequence[Mapping[str, int | float]]]]
    stopped: dict[str, str]
    missing: dict[int, str]
    interrupted: bool

    @classmethod
    def of(cls, parts: Sequence[Done]) -> "Gathered":
        found = cls({}, [], {}, {}, any(part.interrupted for part in parts))
        for part in parts:
            found.missing |= part.missing
            for batch, outcome in part.batches:
                found.images |= dict(zip(batch, outcome.images, strict=True))
                found.rows.append((min(batch), outcome.losses))
                found.stopped |= outcome.stopped
        return found

    def losses(self) -> list[dict[str, int | float]]:
        """All rows, batches numbered by their first layouts."""
        ordered = sorted(self.rows, key=lambda item: item[0])
        return [{**row, "batch": number} for number, (_, rows) in enumerate(ordered) for row in rows]


@dataclass
class Job:
    """One process's share of an inversion."""

    ensemble: Ensemble
    layouts: list[Layout]
    preset: Preset
    steps: int
    seed: int
    batch_size: int
    team: Processes
    trainer: Mapping[str, object]
    dashboard: Dashboard
    log_images_every_n_steps: int
    checkpoint_every_n_seconds: float
    archive: Archive | None
    interruption: Interruption = field(default_factory=Interruption)
    seconds: float = 0.0
    steps_taken: int = 0
    first_step: float | None = None
    _done: Done = field(default_factory=Done)

    def run(self, progress: bool) -> None:
        """Invert every batch of this process's share that is not done already."""
        finished, interrupted = self.team.decide(self._kept)
        if self.archive is not None and self.team.first:
            self._done.batches += self.archive.outcomes()
        waiting = deque(
            plan(
                self.layouts,
                self.ensemble.batch_divisor,
                self.batch_size,
                finished,
                interrupted,
                self.team.rank,
                self.team.count,
            )
        )
        slots = max([1, *(len(layout) for layout in self.layouts)])
        number = 0
        with ExitStack() as stack:
            stack.enter_context(self.interruption)
            bar: list[pl.Callback] = []
            if progress and waiting:
                display = stack.enter_context(step_progress())
                bar = [StepProgress(display, "inverting", len(waiting) * self.steps)]
            while waiting and not self.interruption.asked:
                batch = waiting.popleft()
                try:
                    outcome = self._invert(batch, number, slots, bar)
                except KeyboardInterrupt:
                    self._done.interrupted = True
                    break
                except (RuntimeError, MemoryError) as error:
                    if not _out_of_memory(error):
                        raise
                    waiting.extendleft(reversed(self._smaller(batch)))
                    number += 1
                    continue
                number += 1
                # Lightning's trainer and what it trains keep each other alive until then.
                gc.collect()
                self._done.batches.append((batch, outcome))
                if self.archive is not None:
                    self.archive.keep(batch, outcome)
            self._done.interrupted |= bool(waiting) and self.interruption.asked
        if self.archive is not None:
            self.archive.flush()

    def done(self) -> Done:
        """What this process has."""
        return self._done

    def _kept(self) -> tuple[list[int], list[list[int]]]:
        if self.archive is None:
            return [], []
        return [index for batch, _ in self.archive.outcomes() for index in batch], self.archive.interrupted()

    def _invert(self, batch: list[int], number: int, slots: int, bar: Sequence[pl.Callback]) -> Outcome:
        chosen, first_step = [self.layouts[index] for index in batch], number * self.steps
        recorder = LossRecorder(first_step=first_step, dashboard=self.dashboard)
        guard = StopNonFinite()
        logging_images = ImageLogging(chosen, recorder, self.dashboard, self.log_images_every_n_steps, first_step)
        first = FirstStep()
        callbacks: list[pl.Callback] = [first, *bar, recorder, logging_images]
        state = None
        archive = self.archive
        if archive is not None:
            state = archive.state(batch)
            callbacks.append(
                Checkpoints(
                    lambda write: archive.save_state(batch, write),
                    self.checkpoint_every_n_seconds,
                    lambda: self.interruption.asked,
                )
            )
        callbacks.append(StopWhenAsked(self.interruption))
        begun = time.perf_counter()
        module = fit_batch(
            self.ensemble,
            chosen,
            self.preset,
            self.steps,
            self.seed,
            self.trainer,
            callbacks,
            [guard],
            slots,
            state,
        )
        if state is None:
            self.seconds += time.perf_counter() - begun
            self.steps_taken += self.steps
        if self.first_step is None:
            self.first_step = first.seconds
        stopped = {chosen[row].id: reason for row, reason in guard.stopped.items()}
        return Outcome(module.images(), recorder.rows, stopped)

    def _smaller(self, batch: list[int]) -> list[list[int]]:
        """What to try instead of a batch that memory does not suffice for; all later ones are as small."""
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if self.archive is not None:
            self.archive.drop_state(batch)
        if len(batch) == 1:
            _LOG.warning("detinv: layout %s: memory does not suffice, even alone", self.layouts[batch[0]].id)
            self._done.missing[batch[0]] = "memory does not suffice, even for this image alone"
            return []
        halves = halved(batch)
        _LOG.warning("detinv: memory does not suffice for a batch of %d; going on with %d", len(batch), len(halves[0]))
        return halves


def _out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return "not enough memory" in str(error) or "can't allocate memory" in str(error)
