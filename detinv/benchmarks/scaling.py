"""Throughput of inversions by batch size, and by number of processes that share the machine."""

import multiprocessing
import pickle
import statistics
import time
from collections.abc import Sequence
from multiprocessing.synchronize import Barrier
from typing import Any

import pytorch_lightning as pl
import torch

from detinv.benchmarks.turns import now
from detinv.detectors.base import AbstractDetector
from detinv.errors import DetinvError
from detinv.inversion.callbacks.base import AbstractStepCallback
from detinv.inversion.callbacks.loss_recorder import LossRecorder
from detinv.inversion.fit import fit_batch
from detinv.inversion.modules.base import AbstractPixelModule
from detinv.inversion.modules.ensemble import as_ensemble
from detinv.inversion.preset import Preset
from detinv.layouts.layout import Layout
from detinv.runtime.devices import trainer_on
from detinv.runtime.quiet import quiet_lightning

# Untimed first steps: caches fill, and processes start at different times.
_WARMUP = 5
# Seconds to wait for the other processes at the start.
_PATIENCE = 600.0


def by_batch_size(
    detector: AbstractDetector,
    layouts: Sequence[Layout],
    preset: Preset,
    batch_sizes: Sequence[int],
    *,
    steps: int = 20,
    rounds: int = 3,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Measure image steps per second for several batch sizes, in turns, with all threads.

    An image step moves one image by one step; divide by the steps of an inversion to get images per second.

    Args:
        layouts: at least as many as in the largest batch.
        steps: timed steps per round.
        rounds: number of rounds over all sizes.

    Returns:
        For each size: "batch_size", "seconds_per_step" and "image_steps_per_second", medians.
    """
    seconds: dict[int, list[float]] = {size: [] for size in batch_sizes}
    for number in range(rounds):
        for size, found in seconds.items():
            begun, ended = timed_run(detector, layouts[:size], preset, steps, seed + number)
            found.append((ended - begun) / steps)
    return [
        {
            "batch_size": size,
            "seconds_per_step": statistics.median(found),
            "image_steps_per_second": size / statistics.median(found),
        }
        for size, found in seconds.items()
    ]


def by_processes(
    detector: AbstractDetector,
    layouts: Sequence[Layout],
    preset: Preset,
    counts: Sequence[int],
    *,
    steps: int = 20,
    rounds: int = 3,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Measure image steps per second of independent processes that share the threads of this one.

    Args:
        detector: on the CPU; each process gets a copy.
        layouts: the batch of each process.
        counts: numbers of processes.
        steps: timed steps per process; all start together, and the time ends with the last.
        rounds: number of rounds over all counts.

    Returns:
        For each number: "processes", "threads" of each, "batch_size" of each, "image_steps_per_second", median.

    Raises:
        DetinvError: if a process fails.
    """
    rates: dict[int, list[float]] = {count: [] for count in counts}
    for number in range(rounds):
        for count, found in rates.items():
            spans = run_together(detector, layouts, preset, steps, seed + number, count)
            seconds = max(ended for _, ended in spans) - min(begun for begun, _ in spans)
            found.append(count * len(layouts) * steps / seconds)
    return [
        {
            "processes": count,
            "threads": _share(count),
            "batch_size": len(layouts),
            "image_steps_per_second": statistics.median(found),
        }
        for count, found in rates.items()
    ]


def _share(count: int) -> int:
    return max(torch.get_num_threads() // count, 1)


def run_together(
    detector: AbstractDetector, layouts: Sequence[Layout], preset: Preset, steps: int, seed: int, count: int
) -> list[tuple[float, float]]:
    """Run `count` processes and return when each began and ended its steps."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(count), context.SimpleQueue()
    # Pickled, because tensors would be moved to shared memory.
    load = pickle.dumps((detector, list(layouts), preset, steps, seed))
    processes = [
        context.Process(target=_work, args=(load, _share(count), barrier, results), daemon=True) for _ in range(count)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise DetinvError(f"{count} processes: one failed; its own message says why")
    return [results.get() for _ in processes]


def _work(load: bytes, threads: int, barrier: Barrier, results: Any) -> None:
    torch.set_num_threads(threads)
    detector, layouts, preset, steps, seed = pickle.loads(load)
    try:
        results.put(timed_run(detector, layouts, preset, steps, seed, barrier))
    except BaseException:
        # Otherwise the others would wait for this process.
        barrier.abort()
        raise


def timed_run(
    detector: AbstractDetector,
    layouts: Sequence[Layout],
    preset: Preset,
    steps: int,
    seed: int,
    barrier: Barrier | None = None,
) -> tuple[float, float]:
    """Run one inversion and return when its timed steps began and ended, in seconds since the epoch."""
    span = _Span(barrier)
    with quiet_lightning():
        callbacks = [LossRecorder(), span]
        trainer = trainer_on(detector.device)
        fit_batch(as_ensemble(detector), layouts, preset, _WARMUP + steps, seed, trainer, callbacks)
    return span.begun, span.ended


class _Span(AbstractStepCallback):
    """Records when the timed steps began and ended, on a clock that all processes share."""

    def __init__(self, barrier: Barrier | None) -> None:
        self._barrier = barrier
        self.begun = self.ended = 0.0

    def after_step(self, trainer: pl.Trainer, module: AbstractPixelModule, step: int) -> None:
        if step == _WARMUP - 1:
            now(module.device)
            if self._barrier is not None:
                self._barrier.wait(_PATIENCE)
            self.begun = time.time()
        elif step == module.steps - 1:
            now(module.device)
            self.ended = time.time()
