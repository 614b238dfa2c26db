"""Steps and seconds until images are read as their layouts: presets against each other and against the plain loop."""

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
from detinv.inversion.fitting import fit_batch
from detinv.inversion.modules.base import AbstractPixelModule
from detinv.inversion.modules.ensemble import as_ensemble
from detinv.inversion.preset import Preset
from detinv.layouts.layout import Layout
from detinv.metrics.coco_ap import average_precision
from detinv.runtime.quiet import quiet_lightning

_DECIMALS = 4


@dataclass(frozen=True)
class Goal:
    """When an inversion has arrived.

    Args:
        average_precision: in percent, of the detector's own detections in the images as they would be saved.
        every: steps between two looks at them; looking is not timed.
    """

    average_precision: float = 90.0
    every: int = 10


@dataclass(frozen=True)
class Look:
    """What was seen on the way.

    Args:
        steps: taken so far.
        seconds: they took, all layouts together.
        average_precision: in percent.
    """

    steps: int
    seconds: float
    average_precision: float


Contestant = Callable[[Sequence[Layout], Goal, int], list[Look]]
"""From layouts, goal and seed to what was seen up to the goal, or up to the last step."""


def race(
    contestants: Mapping[str, Contestant], layouts: Sequence[Layout], goal: Goal, *, repeats: int = 3, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Let every contestant invert the same layouts, in turns.

    Args:
        layouts: in the detector's own frame.
        repeats: each with a seed of its own.
        seed: of the first one's start images.

    Returns:
        By contestant: "reached", how many of the "repeats" got there; "steps" and "seconds" until then, medians of
        all, null where fewer than all did; "seconds_per_step"; "average_precision", median of the last looks; "looks"
        of every repeat.
    """
    looks: dict[str, list[list[Look]]] = {name: [] for name in contestants}
    for repeat in range(repeats):
        for name, contestant in contestants.items():
            looks[name].append(contestant(layouts, goal, seed + repeat))
    return {name: _summary(runs, goal) for name, runs in looks.items()}


def by_preset(detector: AbstractDetector, preset: Preset, steps: int) -> Contestant:
    """All layouts as one batch, by `preset`, whose schedule is that of a run of `steps`."""

    def run(layouts: Sequence[Layout], goal: Goal, seed: int) -> list[Look]:
        watch = _Watch(layouts, goal)
        accelerator = "gpu" if detector.device.type == "cuda" else "cpu"
        with quiet_lightning():
            fit_batch(as_ensemble(detector), layouts, preset, steps, seed, {"accelerator": accelerator}, [watch])
        return watch.looks

    return run


def by_plain_loop(detector: AbstractDetector, steps: int) -> Contestant:
    """One layout after the other, by the plain loop, for `steps` at most."""

    def run(layouts: Sequence[Layout], goal: Goal, seed: int) -> list[Look]:
        loops = [reference_steps(detector, layout, reference_start(detector, layout, seed)) for layout in layouts]
        mean, device = detector.pixel_mean[:, None, None], detector.device
        looks: list[Look] = []
        seconds = 0.0
        for done in range(goal.every, steps + goal.every, goal.every):
            count = goal.every - max(done - steps, 0)
            started = now(device)
            # All loops go on together, so that all images can be looked at after as many steps.
            latest = [list(itertools.islice(loop, count))[-1] for loop in loops]
            seconds += now(device) - started
            images = [((mean + image).clamp(0, 1) * 255).round().to(torch.uint8) for image in latest]
            looks.append(Look(min(done, steps), seconds, _seen(detector, layouts, images)))
            if looks[-1].average_precision >= goal.average_precision:
                break
        return looks

    return run


class _Watch(AbstractStepCallback):
    """Looks at the images every so many steps, with the clock stopped, and ends the run at the goal."""

    def __init__(self, layouts: Sequence[Layout], goal: Goal) -> None:
        self.layouts = layouts
        self.goal = goal
        self.looks: list[Look] = []
        self._seconds = 0.0
        self._started = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._started = now(pl_module.device)

    def after_step(self, trainer: pl.Trainer, module: AbstractPixelModule, step: int) -> None:
        if (step + 1) % self.goal.every and step + 1 != module.steps:
            return
        self._seconds += now(module.device) - self._started
        (member,) = module.ensemble
        seen = _seen(member.detector, self.layouts, module.images())
        self.looks.append(Look(step + 1, self._seconds, seen))
        if seen >= self.goal.average_precision:
            trainer.should_stop = True
        self._started = now(module.device)


def _seen(detector: AbstractDetector, layouts: Sequence[Layout], images: Sequence[Tensor]) -> float:
    """AP of what the detector's own inference finds."""
    return float(average_precision(layouts, detector.detect(images), detector.class_names)["AP"])


def _summary(runs: Sequence[Sequence[Look]], goal: Goal) -> dict[str, Any]:
    arrivals = [looks[-1] for looks in runs if looks[-1].average_precision >= goal.average_precision]
    everybody = len(arrivals) == len(runs)
    return {
        "repeats": len(runs),
        "reached": len(arrivals),
        "steps": statistics.median(look.steps for look in arrivals) if everybody else None,
        "seconds": round(statistics.median(look.seconds for look in arrivals), _DECIMALS) if everybody else None,
        "seconds_per_step": round(statistics.median(run[-1].seconds / run[-1].steps for run in runs), _DECIMALS),
        "average_precision": round(statistics.median(run[-1].average_precision for run in runs), _DECIMALS),
        "looks": [
            [[look.steps, round(look.seconds, _DECIMALS), look.average_precision] for look in run] for run in runs
        ],
    }
