"""The main job: layouts in, inverted images and what the detector sees in them out."""

import gc
import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytorch_lightning as pl
import torch
from jaxtyping import UInt8
from torch import Tensor

from detinv.detectors.base import AbstractDetector
from detinv.errors import ConfigError, LayoutError
from detinv.inversion.archive import Archive, Outcome
from detinv.inversion.callbacks.checkpoints import Checkpoints
from detinv.inversion.callbacks.image_logging import ImageLogging
from detinv.inversion.callbacks.loss_recorder import LossRecorder
from detinv.inversion.callbacks.non_finite import StopNonFinite
from detinv.inversion.callbacks.progress import StepProgress, step_progress
from detinv.inversion.dashboards import Dashboard
from detinv.inversion.fingerprint import recipe_hash
from detinv.inversion.fitting import fit_batch, make_trainer
from detinv.inversion.interrupts import Interruption, StopWhenAsked
from detinv.inversion.judging import judge_all
from detinv.inversion.panel import Panel, as_panel
from detinv.inversion.plan import halved, plan
from detinv.inversion.presets import load_recipe
from detinv.inversion.processes import Processes, start_processes
from detinv.inversion.recipe import Recipe
from detinv.layouts.layout import Layout
from detinv.quiet import quiet_lightning
from detinv.results.record import InversionResult
from detinv.results.versions import versions
from detinv.zoo.weights import weight_hash

_PRECISIONS = ("32-true", "32", "bf16-mixed", "16-mixed")
_LOG = logging.getLogger("detinv")


class InversionInterrupted(KeyboardInterrupt):
    """The run was interrupted; `result` holds what was finished by then."""

    def __init__(self, result: InversionResult) -> None:
        super().__init__("interrupted")
        self.result = result


def invert(
    detector: AbstractDetector | str | Sequence[AbstractDetector | str] | Panel,
    layouts: Sequence[Layout],
    recipe: Recipe | str = "default",
    *,
    steps: int | None = None,
    seed: int = 0,
    batch_size: int = 16,
    trainer: Mapping[str, object] | None = None,
    loggers: Sequence[pl.loggers.Logger] = (),
    log_images_every_n_steps: int = 100,
    progress: bool = True,
    folder: str | Path | None = None,
    checkpoint_every_n_seconds: float = 10.0,
) -> InversionResult:
    """Optimise one image for each layout until `detector` reports the layout in it.

    An image depends on its layout, the detector, recipe, steps and seed alone; on the CPU to the last bit, whatever the
    batch size and the number of processes.

    Args:
        detector: or the name of a registered one; or several, for images that all of them read as the layout. They are
            frozen and stay unchanged.
        layouts: boxes in any frame; they are resized to the (first) detector's own input size. Labels are its own.
        recipe: or the name of a preset.
        steps: optimiser updates for each image, by default the recipe's; 0 gives the start images, the control of
            every figure.
        seed: of start images and views; each layout draws its own numbers from it.
        batch_size: images optimised together; it does not change any image. Halved when memory does not suffice.
        trainer: arguments of `pytorch_lightning.Trainer`, such as `precision` or `accelerator`. With `devices` or
            `num_nodes` above 1 the program runs once for each device, and every process returns the whole result.
        loggers: Lightning loggers; they are not closed. One that fails is told nothing more.
        log_images_every_n_steps: between two grids of current images in the loggers.
        progress: show a progress bar.
        folder: where finished images and the state of the running batch are kept, and found again: the same call
            goes on where an earlier one stopped. By default nothing is kept.
        checkpoint_every_n_seconds: between two states of the running batch.

    Returns:
        Images in 8 bit, the detector's own detections in just those, and metrics; without the layouts for which memory
        did not suffice, see `InversionResult.missing`.

    Raises:
        DetinvError: when layouts do not suit the detector, or two have the same id; when `folder` cannot be used or
            holds images of another detector, recipe, seed or number of steps.
        InversionInterrupted: when interrupted, with what is done.
    """
    panel = as_panel(detector)
    if isinstance(recipe, str):
        recipe = load_recipe(recipe)
    steps = recipe.steps if steps is None else steps
    layouts = [layout.resized(panel.network_size(layout.image_size)) for layout in layouts]
    check_layouts(layouts, panel)
    check_options(steps, batch_size, log_images_every_n_steps, trainer or {})
    before, home = _hashes(panel), panel.pixel_mean.device
    team = start_processes(trainer or {})
    job = _Job(
        panel,
        layouts,
        recipe,
        steps,
        seed,
        batch_size,
        team,
        team.trainer(trainer or {}),
        Dashboard(loggers if team.first else ()),
        log_images_every_n_steps,
        checkpoint_every_n_seconds,
        _archive(folder, layouts, recipe, before, steps, seed, trainer or {}, team),
    )
    started = time.perf_counter()
    with quiet_lightning():
        job.run(progress and team.first)
    if _hashes(panel) != before:
        raise RuntimeError("a detector's weights changed during the inversion; its images would prove nothing")

    done = _Gathered.of(team.gather(job.done()))
    seconds = time.perf_counter() - started
    kept = sorted(done.images)
    shown, images = [layouts[index] for index in kept], [done.images[index] for index in kept]
    # Lightning leaves what it trained on the CPU; judging is faster where it was trained.
    panel.to(make_trainer(job.trainer).strategy.root_device)
    mine = [place for place in range(len(kept)) if place % team.count == team.rank]
    seen = {reader.name: dict(zip(mine, reader.detect([images[k] for k in mine]), strict=True)) for reader in panel}
    panel.to(home)
    parts = team.gather(seen)
    readings = {
        name: [detections for _, detections in sorted(item for part in parts for item in part[name].items())]
        for name in seen
    }
    metrics = judge_all(shown, readings, panel.class_names) if shown else {}
    if done.interrupted:
        reason = "interrupted before it was finished"
        done.missing |= {index: reason for index in range(len(layouts)) if index not in done.images}
    metrics |= {
        "steps": steps,
        "seconds": round(seconds, 3),
        "seconds_per_step": round(job.seconds / job.steps_taken, 5) if job.steps_taken else None,
        "images": len(kept),
        "missing": {layouts[index].id: reason for index, reason in sorted(done.missing.items())},
        "stopped": done.stopped,
        "batch_size": batch_size,
        "seed": seed,
        "weight_hash": before if len(panel) > 1 else next(iter(before.values())),
        "versions": versions(),
    }
    result = InversionResult(shown, images, readings, panel.class_names, metrics, done.losses())
    if done.interrupted:
        raise InversionInterrupted(result)
    return result


@dataclass
class _Done:
    """What one process has, as plain data; indices are those of the job's layouts."""

    batches: list[tuple[list[int], Outcome]] = field(default_factory=list)
    missing: dict[int, str] = field(default_factory=dict)
    interrupted: bool = False


@dataclass
class _Gathered:
    """The same of all processes."""

    images: dict[int, UInt8[Tensor, "3 _ _"]]
    rows: list[tuple[int, Sequence[Mapping[str, int | float]]]]
    stopped: dict[str, str]
    missing: dict[int, str]
    interrupted: bool

    @classmethod
    def of(cls, parts: Sequence[_Done]) -> "_Gathered":
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
class _Job:
    """One process's share of an inversion."""

    panel: Panel
    layouts: list[Layout]
    recipe: Recipe
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
    _done: _Done = field(default_factory=_Done)

    def run(self, progress: bool) -> None:
        """Invert every batch of this process's share that is not done already."""
        finished, interrupted = self.team.decide(self._kept)
        if self.archive is not None and self.team.first:
            self._done.batches += self.archive.outcomes()
        waiting = deque(
            plan(
                self.layouts,
                self.panel.batch_divisor,
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

    def done(self) -> _Done:
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
        callbacks: list[pl.Callback] = [*bar, recorder, logging_images]
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
            self.panel,
            chosen,
            self.recipe,
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


def _archive(
    folder: str | Path | None,
    layouts: Sequence[Layout],
    recipe: Recipe,
    hashes: Mapping[str, str],
    steps: int,
    seed: int,
    trainer: Mapping[str, object],
    team: Processes,
) -> Archive | None:
    if folder is None:
        return None
    source = {
        "weights": ",".join(hashes.values()),
        "recipe": recipe_hash(recipe),
        "steps": steps,
        "seed": seed,
        "precision": str(trainer.get("precision", _PRECISIONS[0])),
    }
    # The first process makes the folder what it is, or refuses it for all.
    team.decide(lambda: str(Archive(folder, layouts, source).tidy().folder))
    return Archive(folder, layouts, source)


def _hashes(panel: Panel) -> dict[str, str]:
    return {reader.name: weight_hash(reader.detector) for reader in panel}


def check_options(steps: int, batch_size: int, log_images_every_n_steps: int, trainer: Mapping[str, object]) -> None:
    """Raise ConfigError for numbers that mean nothing, and for what Lightning's Trainer does not take."""
    check_precision(trainer.get("precision", _PRECISIONS[0]))
    if log_images_every_n_steps < 1:
        raise ConfigError(f"log_images_every_n_steps={log_images_every_n_steps}: choose at least 1")
    if steps < 0:
        raise ConfigError(f"steps={steps}: choose 0 or more")
    if batch_size < 1:
        raise ConfigError(f"batch_size={batch_size}: choose at least 1")
    if trainer.get("devices", 1) in (1, "1") and trainer.get("num_nodes", 1) == 1:
        make_trainer(trainer)


def check_precision(precision: object, name: str = "trainer.precision") -> None:
    """Raise ConfigError for a precision that an inversion cannot run a network in, calling the option `name`."""
    if str(precision) not in _PRECISIONS:
        # True half precision would convert the detector itself.
        raise ConfigError(f"{name}={precision}: choose one of {', '.join(_PRECISIONS)}")


def check_layouts(layouts: Sequence[Layout], detector: AbstractDetector | Panel) -> None:
    """Raise LayoutError if a layout cannot be asked of this detector, or of these, naming it."""
    if not layouts:
        raise LayoutError("there is no layout to invert")
    seen: set[str] = set()
    for layout in layouts:
        if layout.id in seen:
            raise LayoutError(f"two layouts are called {layout.id!r}; ids must differ")
        seen.add(layout.id)
        if len(layout) > detector.detections_per_image:
            raise LayoutError(
                f"layout {layout.id}: {len(layout)} objects, but this detector reports at most "
                f"{detector.detections_per_image} per image; drop some"
            )
        if len(layout) and int(layout.labels.max()) >= len(detector.class_names):
            raise LayoutError(
                f"layout {layout.id}: label {int(layout.labels.max())} is beyond the detector's "
                f"{len(detector.class_names)} classes"
            )
