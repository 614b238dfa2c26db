"""Seconds per step of a full inversion against the bare forward and backward of the same frozen detector.

The full step is Lightning's own: one `Trainer.fit` runs, and a callback stops the clock at its steps; between rounds it
runs the bare passes, so both kinds take turns within one process.
"""

import statistics
import time
from collections.abc import Callable, Sequence

import pytorch_lightning as pl
import torch

from detinv.detectors.base import AbstractDetector
from detinv.inversion.callbacks.base import AbstractStepCallback
from detinv.inversion.callbacks.loss_recorder import LossRecorder
from detinv.inversion.callbacks.non_finite import StopNonFinite
from detinv.inversion.fitting import fit_batch
from detinv.inversion.panel import as_panel
from detinv.inversion.pixel_module import AbstractPixelModule
from detinv.inversion.recipe import Recipe
from detinv.layouts.layout import Layout
from detinv.quiet import quiet_lightning


def bench_step(
    detector: AbstractDetector,
    layouts: Sequence[Layout],
    recipe: Recipe,
    *,
    rounds: int = 20,
    steps_per_round: int = 5,
    warmup: int = 5,
    seed: int = 0,
) -> dict[str, float | int]:
    """Median seconds of a full step and of the bare passes, and the ratio.

    The bare passes are what no inversion can do without: the detector's raw outputs of all heads on the same pixels,
    second stages at the same regions (the detector's proposals and the objects' boxes), and their gradient to the
    pixels.

    Args:
        detector: on the device to be measured.
        layouts: one batch of them.
        recipe: of the full step.
        rounds: that are timed.
        steps_per_round: full steps and bare passes in each round.
        warmup: rounds before.
        seed: of the start images.

    Returns:
        "step_seconds", "bare_seconds" (medians per step), "ratio" (median of the rounds' ratios), "ratio_low",
        "ratio_high" (quartiles), "batch_size", "rounds".
    """
    clock = _Turns(steps_per_round)
    accelerator = "gpu" if detector.pixel_mean.device.type == "cuda" else "cpu"
    total = (rounds + warmup) * steps_per_round
    with quiet_lightning():
        fit_batch(
            as_panel(detector),
            layouts,
            recipe,
            total,
            seed,
            {"accelerator": accelerator},
            [LossRecorder(), clock],
            [StopNonFinite()],
        )
    full, bare = clock.full[warmup:], clock.bare[warmup:]
    ratios = sorted(a / b for a, b in zip(full, bare, strict=True))
    quartiles = statistics.quantiles(ratios, n=4)
    return {
        "step_seconds": statistics.median(full) / steps_per_round,
        "bare_seconds": statistics.median(bare) / steps_per_round,
        "ratio": statistics.median(ratios),
        "ratio_low": quartiles[0],
        "ratio_high": quartiles[2],
        "batch_size": len(layouts),
        "rounds": rounds,
    }


class _Turns(AbstractStepCallback):
    """Lets a round of full steps pass, then runs as many bare ones; both are timed."""

    def __init__(self, steps_per_round: int) -> None:
        self.steps_per_round = steps_per_round
        self.full: list[float] = []
        self.bare: list[float] = []
        self._started = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._started = _now(pl_module.device)

    def after_step(self, trainer: pl.Trainer, module: AbstractPixelModule, step: int) -> None:
        if (step + 1) % self.steps_per_round:
            return
        self.full.append(_now(module.device) - self._started)
        self.bare.append(_timed(lambda: _bare(module), self.steps_per_round, module.device))
        self._started = _now(module.device)


def _bare(module: AbstractPixelModule) -> None:
    """Raw outputs of all heads, and the gradient of their sum to the pixels."""
    pixels = module.pixels().detach().requires_grad_()
    layouts = module.layouts
    with torch.enable_grad():
        # Not by calling the module: its hook, which builds targets, belongs to the full step.
        (reader,) = module.panel
        predictions = reader.detector.forward(pixels, layouts.image_sizes, layouts.boxes, layouts.valid)
        total = torch.stack([output.sum() for output in predictions.outputs()]).sum()
    torch.autograd.grad(total, pixels)


def _timed(action: Callable[[], None], times: int, device: torch.device) -> float:
    started = _now(device)
    for _ in range(times):
        action()
    return _now(device) - started


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
