"""Resident memory of inversions: its maximum and its growth."""

import gc
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl

from detinv.detectors.base import AbstractDetector
from detinv.errors import ConfigError
from detinv.inversion.callbacks.base import AbstractStepCallback
from detinv.inversion.callbacks.loss_recorder import LossRecorder
from detinv.inversion.fit import fit_batch
from detinv.inversion.modules.base import AbstractPixelModule
from detinv.inversion.modules.ensemble import Ensemble, as_ensemble
from detinv.inversion.preset import Preset
from detinv.layouts.layout import Layout
from detinv.runtime.quiet import quiet_lightning

_PAGES = Path("/proc/self/statm")
_MEGABYTE = 1e6
# Samples of a long run, and steps of each of many short ones.
_SAMPLES, _SHORT = 100, 3


def bench_memory(
    detector: AbstractDetector,
    layouts: Sequence[Layout],
    preset: Preset,
    *,
    steps: int = 1000,
    batches: int = 100,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure the resident memory of this process during one long inversion, then over many short ones.

    Growth is the slope of a line fitted to the second half of the samples, so that caches filled once do not count.

    Args:
        detector: on the CPU.
        layouts: one batch of them.
        preset: of the inversion.
        steps: of the long inversion.
        batches: number of short inversions.
        seed: of the start images.

    Returns:
        In megabytes (10^6 bytes): "before", resident before the first step; "peak", the process's maximum;
        "growth_per_1000_steps" and "growth_per_100_batches"; "resident_by_step" and "resident_by_batch", pairs of
        number and megabytes.

    Raises:
        ConfigError: on systems other than Linux.
    """
    before = resident()
    watch = _Watch(max(steps // _SAMPLES, 1))
    ensemble = as_ensemble(detector)
    _fit(ensemble, layouts, preset, steps, seed, watch)
    by_batch = []
    for number in range(batches):
        _fit(ensemble, layouts, preset, _SHORT, seed + number)
        by_batch.append((number + 1, resident()))
    # The kernel updates its peak lazily, so a sample may lie a little above it.
    most = max(peak(), *(size for _, size in [*watch.resident, *by_batch]), before)
    return {
        "batch_size": len(layouts),
        "steps": steps,
        "batches": batches,
        "before": before,
        "peak": most,
        "growth_per_1000_steps": 1000 * growth(watch.resident),
        "growth_per_100_batches": 100 * growth(by_batch),
        "resident_by_step": watch.resident,
        "resident_by_batch": by_batch,
    }


def growth(samples: Sequence[tuple[int, float]]) -> float:
    """Return the slope of the second half of (number, megabytes) samples, 0 for fewer than two of them."""
    half = np.array(samples[len(samples) // 2 :], dtype=np.float64)
    if len(half) < 2:
        return 0.0
    return float(np.polyfit(half[:, 0], half[:, 1], 1)[0])


def peak() -> float:
    """Return the maximum resident memory of this process so far, in megabytes."""
    # Kilobytes everywhere but on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _MEGABYTE


def resident() -> float:
    """Return the resident memory of this process in megabytes.

    Raises:
        ConfigError: on systems other than Linux.
    """
    if not _PAGES.is_file():
        raise ConfigError("bench memory reads /proc/self/statm; run it on Linux")
    return int(_PAGES.read_text().split()[1]) * resource.getpagesize() / _MEGABYTE


def _fit(
    ensemble: Ensemble,
    layouts: Sequence[Layout],
    preset: Preset,
    steps: int,
    seed: int,
    *callbacks: pl.Callback,
) -> None:
    with quiet_lightning():
        fit_batch(ensemble, layouts, preset, steps, seed, {"accelerator": "cpu"}, [LossRecorder(), *callbacks])
    # As a run does between its batches.
    gc.collect()


class _Watch(AbstractStepCallback):
    """Samples resident memory every so many steps."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.resident: list[tuple[int, float]] = []

    def after_step(self, trainer: pl.Trainer, module: AbstractPixelModule, step: int) -> None:
        if (step + 1) % self.every == 0:
            self.resident.append((step + 1, resident()))
