"""Seconds per step of a full inversion against a lower bound, the bare network.

Full steps run in one `Trainer.fit`, timed by a callback that also runs the bare passes between rounds, so that all
kinds take turns within one process.
"""

import statistics
from collections.abc import Callable, Sequence
from typing import Any

import torch

from detinv.benchmarks.idle import IdleTime, peak_bytes
from detinv.benchmarks.turns import STEP, Turns, ratio
from detinv.detectors.acceleration.accelerate import accelerated
from detinv.detectors.base import AbstractDetector
from detinv.detectors.regions import Regions
from detinv.inversion.callbacks.base import AbstractStepCallback
from detinv.inversion.callbacks.first_step import FirstStep
from detinv.inversion.callbacks.loss_recorder import LossRecorder
from detinv.inversion.fit import fit_batch
from detinv.inversion.modules.base import AbstractPixelModule
from detinv.inversion.modules.ensemble import as_ensemble
from detinv.inversion.preset import Preset
from detinv.layouts.layout import Layout
from detinv.runtime.devices import trainer_on
from detinv.runtime.quiet import quiet_lightning

BARE, ACCELERATED = "unmodified", "accelerated"
# Steps whose kernels are looked at, after as many that are not.
_PROFILED = 5


def bench_step(
    detector: AbstractDetector,
    layouts: Sequence[Layout],
    preset: Preset,
    *,
    rounds: int = 20,
    steps_per_round: int = 5,
    warmup: int = 5,
    seed: int = 0,
    precision: str = "32-true",
    compile_mode: str | None = None,
) -> dict[str, Any]:
    """Measure the median seconds of a full step and of its two lower bounds, and the ratios.

    A lower bound is a pass of the bare network for the same batch of pixels, with all threads: the raw outputs of all
    heads, second stages at the same regions (the detector's proposals and the objects' boxes), and the gradient of
    their sum with respect to the pixels. "unmodified" is the frozen detector as its library provides it, "accelerated"
    the copy that computes the same with less work.

    Args:
        detector: on the device to measure.
        layouts: one batch.
        preset: of the full step.
        rounds: timed rounds, at least 2.
        steps_per_round: full steps and bare passes in each round.
        warmup: untimed rounds at the start.
        seed: of the start images.
        precision: of the network in full steps and bare passes, one of Lightning's Trainer.
        compile_mode: of the network in full steps; see `compile_parts`. Bare passes are never compiled.

    Returns:
        "batch_size", "rounds", "first_step_seconds"; "seconds": medians per step of "step", "unmodified" and
        "accelerated"; "step_to_unmodified", "step_to_accelerated", "unmodified_to_accelerated": medians and quartiles
        of the rounds' ratios; "image_steps_per_second"; on a GPU "peak_bytes" of the steps, and "idle_share" of the
        time and "kernels_per_step" in some more of them.
    """
    floors = {BARE: bare_pass(detector), ACCELERATED: bare_pass(accelerated(detector))}
    turns = Turns(floors, steps_per_round)
    first = fit_turns(
        turns, detector, layouts, preset, (rounds + warmup) * steps_per_round, seed, precision, compile_mode
    )
    # In steps of their own: the profiler slows them, and the bare passes have a memory of their own.
    idle = IdleTime(_PROFILED, _PROFILED)
    if detector.device.type == "cuda":
        peak_bytes(detector.device)
        fit_turns(idle, detector, layouts, preset, 2 * _PROFILED + 1, seed, precision, compile_mode)
    seconds = {name: values[warmup:] for name, values in turns.seconds.items()}
    return {
        "batch_size": len(layouts),
        "rounds": rounds,
        "first_step_seconds": first,
        "seconds": {name: statistics.median(values) / steps_per_round for name, values in seconds.items()},
        "step_to_unmodified": ratio(seconds[STEP], seconds[BARE]),
        "step_to_accelerated": ratio(seconds[STEP], seconds[ACCELERATED]),
        "unmodified_to_accelerated": ratio(seconds[BARE], seconds[ACCELERATED]),
        "image_steps_per_second": len(layouts) * steps_per_round / statistics.median(seconds[STEP]),
        "peak_bytes": peak_bytes(detector.device),
        **(idle.found or {}),
    }


def fit_turns(
    turns: AbstractStepCallback,
    detector: AbstractDetector,
    layouts: Sequence[Layout],
    preset: Preset,
    steps: int,
    seed: int,
    precision: str = "32-true",
    compile_mode: str | None = None,
) -> float | None:
    """Take `steps` full steps, as `invert` does without a progress bar, with `turns` after each.

    Returns:
        Seconds of the first step.
    """
    trainer = {**trainer_on(detector.device), "precision": precision}
    ensemble, first = as_ensemble(detector).compiled(compile_mode), FirstStep()
    with quiet_lightning():
        fit_batch(ensemble, layouts, preset, steps, seed, trainer, (), [first, LossRecorder(), turns])
    return first.seconds


def bare_pass(detector: AbstractDetector) -> Callable[[AbstractPixelModule], object]:
    """Return a function that computes a module's raw outputs and the gradient of their sum with respect to the pixels.

    It uses the precision of the module's trainer.
    """

    def run(module: AbstractPixelModule) -> None:
        pixels = module.pixels().detach().requires_grad_()
        layouts = module.layouts
        with module.trainer.precision_plugin.forward_context():
            # `forward` rather than a call, so that hooks on the detector fire in full steps alone.
            predictions = detector.forward(pixels, layouts.image_sizes, Regions(layouts.boxes, layouts.valid))
        total = torch.stack([output.sum() for output in predictions.outputs()]).sum()
        torch.autograd.grad(total, pixels)

    return run
