"""One process's share of an inversion, batch by batch, and the results of all shares together."""

import gc
import logging
import math
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytorch_lightning as pl
from jaxtyping import UInt8
from torch import Tensor

from detinv.inversion.callbacks.checkpoints import Checkpoints
from detinv.inversion.callbacks.first_step import FirstStep
from detinv.inversion.callbacks.image_logging import ImageLogging
from detinv.inversion.callbacks.loss_recorder import LossRecorder
from detinv.inversion.callbacks.non_finite import StopNonFinite
from detinv.inversion.callbacks.progress import StepProgress, step_progress
from detinv.inversion.callbacks.stop_when_asked import StopWhenAsked
from detinv.inversion.fit import fit_batch
from detinv.inversion.modules.ensemble import Ensemble
from detinv.inversion.plan import halved, plan
from detinv.inversion.preset import Preset
from detinv.inversion.resume.archive import Archive, BatchResult
from detinv.layouts.batch import canvas_size, slots_for
from detinv.layouts.layout import Layout
from detinv.runtime.interrupts import Interruption
from detinv.runtime.loggers import Dashboard
from detinv.runtime.memory import is_out_of_memory, release_memory
from detinv.runtime.processes import Processes

_LOG = logging.getLogger("detinv")


@dataclass
class Done:
    """The results of one process, as plain data; indices are those of the job's layouts."""

    batches: list[tuple[list[int], BatchResult]] = field(default_factory=list)
    missing: dict[int, str] = field(default_factory=dict)
    interrupted: bool = False


@dataclass
class Gathered:
    """The results of all processes."""

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
            for batch, result in part.batches:
                found.images |= dict(zip(batch, result.images, strict=True))
                found.rows.append((min(batch), result.losses))
                found.stopped |= result.stopped
        return found

    def losses(self) -> list[dict[str, int | float]]:
        """All rows, batches numbered in the order of their first layouts."""
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
    # Fewest pixels in a batch that memory did not suffice for.
    _too_many_pixels: int | None = None

    def run(self, progress: bool) -> None:
        """Invert every batch of this process's share that is not finished already."""
        finished, interrupted = self.team.decide(self._kept)
        if self.archive is not None and self.team.first:
            self._done.batches += self.archive.batches()
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
        number = 0
        with ExitStack() as stack:
            stack.enter_context(self.interruption)
            bar: StepProgress | None = None
            if progress and waiting:
                bar = StepProgress(stack.enter_context(step_progress()), "inverting", self.steps)
            finished_here = 0
            while waiting and not self._is_asked_to_stop():
                batch = waiting.popleft()
                if self._is_too_large(batch):
                    waiting.extendleft(reversed(self._halves(batch)))
                    continue
                if bar is not None:
                    bar.begin_batch(finished_here, len(waiting) + 1)
                try:
                    result = self._try(batch, number, [] if bar is None else [bar])
                except KeyboardInterrupt:
                    self._done.interrupted = True
                    break
                number += 1
                # Lightning's trainer and its module refer to each other, so only the collector frees them.
                gc.collect()
                if result is None:
                    release_memory()
                    waiting.extendleft(reversed(self._after_out_of_memory(batch)))
                    continue
                finished_here += 1
                self._done.batches.append((batch, result))
                if self.archive is not None:
                    self.archive.keep(batch, result)
            self._done.interrupted |= bool(waiting) and self._is_asked_to_stop()
        # Some write only every hundred steps.
        self.dashboard.tell(lambda logger: logger.save())
        if self.archive is not None:
            self.archive.flush()

    def done(self) -> Done:
        """Return the results of this process so far."""
        return self._done

    def _is_asked_to_stop(self) -> bool:
        """Tell whether the user, or the failure of another process, asks for the end of this one's work."""
        return self.interruption.asked or self.team.failed

    def _kept(self) -> tuple[list[int], list[list[int]]]:
        if self.archive is None:
            return [], []
        return [index for batch, _ in self.archive.batches() for index in batch], self.archive.interrupted()

    def _try(self, batch: list[int], number: int, bar: Sequence[pl.Callback]) -> BatchResult | None:
        """Invert a batch; None when memory does not suffice.

        Only after returning is the failed step's memory free: while the error is handled, its traceback refers to it.
        """
        try:
            return self._invert(batch, number, bar)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        return None

    def _invert(self, batch: list[int], number: int, bar: Sequence[pl.Callback]) -> BatchResult:
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
                    self._is_asked_to_stop,
                )
            )
        callbacks.append(StopWhenAsked(self._is_asked_to_stop))
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
            max(slots_for(len(layout)) for layout in chosen),
            state,
        )
        if state is None:
            self.seconds += time.perf_counter() - begun
            self.steps_taken += self.steps
        if self.first_step is None:
            self.first_step = first.seconds
        stopped = {chosen[row].id: reason for row, reason in guard.stopped.items()}
        return BatchResult(module.images(), recorder.rows, stopped)

    def _pixels(self, batch: Sequence[int]) -> int:
        """Pixels on the canvases of a batch, which its memory is roughly proportional to."""
        sizes = [self.layouts[index].image_size for index in batch]
        return len(batch) * math.prod(canvas_size(sizes, self.ensemble.batch_divisor))

    def _is_too_large(self, batch: Sequence[int]) -> bool:
        """Tell whether memory did not suffice for as many pixels before; single images are tried all the same."""
        return len(batch) > 1 and self._too_many_pixels is not None and self._pixels(batch) >= self._too_many_pixels

    def _halves(self, batch: list[int]) -> list[list[int]]:
        if self.archive is not None:
            self.archive.drop_state(batch)
        return halved(batch)

    def _after_out_of_memory(self, batch: list[int]) -> list[list[int]]:
        """The batches to try instead of one that memory did not suffice for."""
        if len(batch) == 1:
            if self.archive is not None:
                self.archive.drop_state(batch)
            _LOG.warning("detinv: layout %s: memory does not suffice, even alone", self.layouts[batch[0]].id)
            self._done.missing[batch[0]] = "memory does not suffice, even for this image alone"
            return []
        self._too_many_pixels = self._pixels(batch)
        halves = self._halves(batch)
        _LOG.warning(
            "detinv: memory does not suffice for a batch of %d; continuing with %d", len(batch), len(halves[0])
        )
        return halves
