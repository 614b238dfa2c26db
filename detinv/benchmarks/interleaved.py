"""Several tasks in turns within one process: time, processor time and peak memory of each."""

import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from detinv.benchmarks.memory import resident
from detinv.benchmarks.turns import now

_MEGABYTE = 1e6
# Seconds between two samples of resident memory.
_EVERY = 0.005


@dataclass
class Costs:
    """What a task took in each round.

    Attributes:
        wall: seconds that passed.
        cpu: seconds of processor time, of all threads of the process.
        memory: megabytes (10^6 bytes), the most during the task above what was there before it.
    """

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)

    def medians(self) -> dict[str, float]:
        """Return medians of the rounds by name: "wall_seconds", "cpu_seconds", "memory"."""
        return {
            "wall_seconds": statistics.median(self.wall),
            "cpu_seconds": statistics.median(self.cpu),
            "memory": statistics.median(self.memory),
        }


def take_turns(
    tasks: Mapping[str, Callable[[], object]], rounds: int, device: torch.device, warmup: int = 1
) -> dict[str, Costs]:
    """Run all tasks once in each round, one after the other.

    Args:
        tasks: by name.
        rounds: that are measured.
        device: on which the tasks compute.
        warmup: rounds before these.
    """
    found = {name: Costs() for name in tasks}
    for number in range(warmup + rounds):
        for name, task in tasks.items():
            with _peak(device) as most:
                wall, cpu = now(device), time.process_time()
                task()
                wall, cpu = now(device) - wall, time.process_time() - cpu
            if number >= warmup:
                costs = found[name]
                costs.wall.append(wall)
                costs.cpu.append(cpu)
                costs.memory.append(most[0])
    return found


@contextmanager
def _peak(device: torch.device) -> Iterator[list[float]]:
    """Measure how much memory is taken within the block; the list holds it when the block is left."""
    found = [0.0]
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        allocated = torch.cuda.memory_allocated(device)
        yield found
        found[0] = (torch.cuda.max_memory_allocated(device) - allocated) / _MEGABYTE
        return
    before, done = resident(), threading.Event()

    def watch() -> None:
        while not done.wait(_EVERY):
            found[0] = max(found[0], resident() - before)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield found
    finally:
        done.set()
        watcher.join()
    found[0] = max(found[0], resident() - before)
