"""How much of a step a GPU waits for kernels to be launched, from torch's profiler."""

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from detinv.benchmarks.turns import now
from detinv.inversion.callbacks.base import AbstractStepCallback
from detinv.inversion.modules.base import AbstractPixelModule


class IdleTime(AbstractStepCallback):
    """Profiles some steps of an inversion on a GPU; on other devices it measures nothing.

    Args:
        first: step after which the profile begins.
        steps: that are profiled.

    Attributes:
        found: after these steps: "idle_share", "kernels_per_step"; None before, and on other devices.
    """

    def __init__(self, first: int, steps: int) -> None:
        self.first, self.steps = first, steps
        self.found: dict[str, Any] | None = None
        self._profile: profile | None = None

    def after_step(self, trainer: pl.Trainer, module: AbstractPixelModule, step: int) -> None:
        if module.device.type != "cuda":
            return
        if step == self.first:
            now(module.device)
            self._profile = profile(activities=[ProfilerActivity.CUDA])
            self._profile.start()
        elif step == self.first + self.steps and self._profile is not None:
            now(module.device)
            self._profile.stop()
            events = self._profile.events() or []
            # Regions with a name, such as "Optimizer.step", have a range on the GPU as well, with the pauses in them.
            kernels = [
                event.time_range
                for event in events
                if event.device_type == DeviceType.CUDA and not event.is_user_annotation
            ]
            self.found = {
                "idle_share": idle_share([(one.start, one.end) for one in kernels]),
                "kernels_per_step": len(kernels) / self.steps,
            }
            self._profile = None


def idle_share(kernels: Sequence[tuple[float, float]]) -> float | None:
    """Return the share of the time from the first kernel's start to the last one's end in which none ran.

    Args:
        kernels: start and end of each, in any order; they may overlap.
    """
    if not kernels:
        return None
    begin, end, idle = *min(kernels), 0.0
    for start, stop in sorted(kernels):
        idle += max(0.0, start - end)
        end = max(end, stop)
    return idle / (end - begin) if end > begin else 0.0


def peak_bytes(device: torch.device) -> int | None:
    """Return the most bytes that tensors have taken on a GPU since the last call; None on other devices."""
    if device.type != "cuda":
        return None
    found = torch.cuda.max_memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    return found
