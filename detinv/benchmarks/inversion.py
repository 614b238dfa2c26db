"""Steps and seconds until images reach an average precision: presets against each other and the plain loop."""

import itertools
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from detinv.benchmarks.reference import reference_start, reference_steps
from detinv.benchmarks.turns import now
from detinv.detectors.base import AbstractDetector
from detinv.inversion.callbacks.base import AbstractStepCallback
from detinv.inversion.fit import fit_batch
from detinv.inversion.modules.base import AbstractPixelModule
from detinv.inversion.modules.ensemble import as_ensemble
from detinv.inversion.preset import Preset
from detinv.layouts.layout import Layout
from detinv.metrics.coco_ap import average_precision
from detinv.runtime.devices import trainer_on
from detinv.runtime.quiet import quiet_lightning

_DECIMALS = 4


@dataclass(frozen=True)
class Goal:
    """What an inversion has to reach.

    Args:
        average_precision: in percent, of the detector's own detections in the images as they would be saved.
        every: steps between two measurements, which are not timed.
    """

    average_precision: float = 90.0
    every: int = 10


@dataclass(frozen=True)
class Progress:
    """A measurement on the way to the goal.

    Args:
        steps: taken so far.
        seconds: that they took, for all layouts together.
        average_precision: in percent.
    """

    steps: int
    seconds: float
    average_precision: float


Contestant = Callable[[Sequence[Layout], Goal, int], list[Progress]]
"""Maps layouts, goal and seed to the measurements up to the goal, or up to the last step."""


def race(
    contestants: Mapping[str, Contestant], layouts: Sequence[Layout], goal: Goal, *, repeats: int = 3, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Let the contestants take turns at inverting the same layouts.

    Args:
        layouts: in the detector's own frame.
        repeats: number of inversions by each contestant, with different seeds.
        seed: of the start images of the first.

    Returns:
        By contestant: "reached", how many of the "repeats" reached the goal; "steps" and "seconds" until then, medians,
        null unless all reached it; "seconds_per_step"; "average_precision", median of the last measurements;
        "progress", the measurements of every repeat as [steps, seconds, average precision].
    """
    runs: dict[str, list[list[Progress]]] = {name: [] for name in contestants}
    for repeat in range(repeats):
        for name, contestant in contestants.items():
            runs[name].append(contestant(layouts, goal, seed + repeat))
    return {name: _summary(found, goal) for name, found in runs.items()}


def by_preset(detector: AbstractDetector, preset: Preset, steps: int) -> Contestant:
    """Return a contestant that inverts all layouts as one batch, scheduled for a run of `steps`."""

    def run(layouts: Sequence[Layout], goal: Goal, seed: int) -> list[Progress]:
        watch = _Watch(layouts, goal)
        with quiet_lightning():
            fit_batch(as_ensemble(detector), layouts, preset, steps, seed, trainer_on(detector.device), [watch])
        return watch.found

    return run


def by_plain_loop(detector: AbstractDetector, steps: int) -> Contestant:
    """Return a contestant that inverts one layout after the other with the plain loop, for at most `steps`."""

    def run(layouts: Sequence[Layout], goal: Goal, seed: int) -> list[Progress]:
        loops = [reference_steps(detector, layout, reference_start(detector, layout, seed)) for layout in layouts]
        mean, device = detector.pixel_mean[:, None, None], detector.device
        found: list[Progress] = []
        seconds = 0.0
        for done in range(goal.every, steps + goal.every, goal.every):
            count = goal.every - max(done - steps, 0)
            started = now(device)
            # The loops advance together, so that all images are measured after the same number of steps.
            latest = [list(itertools.islice(loop, count))[-1] for loop in loops]
            seconds += now(device) - started
            images = [((mean + image).clamp(0, 1) * 255).round().to(torch.uint8) for image in latest]
            found.append(Progress(min(done, steps), seconds, _measured(detector, layouts, images)))
            if found[-1].average_precision >= goal.average_precision:
                break
        return found

    return run


class _Watch(AbstractStepCallback):
    """Measures every so many steps, with the clock stopped, and ends the run at the goal."""

    def __init__(self, layouts: Sequence[Layout], goal: Goal) -> None:
        self.layouts = layouts
        self.goal = goal
        self.found: list[Progress] = []
        self._seconds = 0.0
        self._started = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._started = now(pl_module.device)

    def after_step(self, trainer: pl.Trainer, module: AbstractPixelModule, step: int) -> None:
        if (step + 1) % self.goal.every and step + 1 != module.steps:
            return
        self._seconds += now(module.device) - self._started
        (member,) = module.ensemble
        precision = _measured(member.detector, self.layouts, module.images())
        self.found.append(Progress(step + 1, self._seconds, precision))
        if precision >= self.goal.average_precision:
            trainer.should_stop = True
        self._started = now(module.device)


def _measured(detector: AbstractDetector, layouts: Sequence[Layout], images: Sequence[Tensor]) -> float:
    """Return the AP of the detector's own detections."""
    return float(average_precision(layouts, detector.detect(images), detector.class_names)["AP"])


def _summary(runs: Sequence[Sequence[Progress]], goal: Goal) -> dict[str, Any]:
    arrivals = [found[-1] for found in runs if found[-1].average_precision >= goal.average_precision]
    everybody = len(arrivals) == len(runs)
    return {
        "repeats": len(runs),
        "reached": len(arrivals),
        "steps": statistics.median(one.steps for one in arrivals) if everybody else None,
        "seconds": round(statistics.median(one.seconds for one in arrivals), _DECIMALS) if everybody else None,
        "seconds_per_step": round(statistics.median(run[-1].seconds / run[-1].steps for run in runs), _DECIMALS),
        "average_precision": round(statistics.median(run[-1].average_precision for run in runs), _DECIMALS),
        "progress": [
            [[one.steps, round(one.seconds, _DECIMALS), one.average_precision] for one in run] for run in runs
        ],
    }
