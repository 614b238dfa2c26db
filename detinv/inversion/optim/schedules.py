"""Learning-rate factors over the steps of an inversion; a step's factor is known before the run."""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from detinv.inputs.ranges import check_range


@runtime_checkable
class Schedule(Protocol):
    """Factor of the learning rate at step 0, 1, ... of a run of `steps`."""

    def __call__(self, step: int, steps: int) -> float: ...


@dataclass(frozen=True)
class StepDecay:
    """factor ** (step // every): the published schedule. It takes effect one step later, as published.

    Args:
        factor: in (0, 1].
        every: steps between two decays.
    """

    factor: float
    every: int = 300

    def __post_init__(self) -> None:
        check_range(self, "factor", above=True)
        check_range(self, "every", least=1)

    def __call__(self, step: int, steps: int) -> float:
        return self.factor ** (max(step - 1, 0) // self.every)


@dataclass(frozen=True)
class Cosine:
    """From 1 to `final` along half a cosine."""

    final: float = 0.1

    def __post_init__(self) -> None:
        check_range(self, "final")

    def __call__(self, step: int, steps: int) -> float:
        progress = step / max(steps - 1, 1)
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
