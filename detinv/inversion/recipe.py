"""Everything that says how to invert, but not what: a preset, made of named parts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from detinv.errors import ConfigError
from detinv.inversion.augmentation import Augmentation
from detinv.inversion.callbacks.pixel_updates import PixelUpdate
from detinv.inversion.objective import Objective
from detinv.inversion.pixel_module import OptimizerFactory
from detinv.inversion.pixels import AbstractPixels
from detinv.inversion.schedule import Schedule
from detinv.inversion.targets.base import MatchingRule, TargetRule


@dataclass(frozen=True)
class Recipe:
    """A way of inverting.

    Args:
        rule: how pseudo-targets follow from the current outputs.
        matching: the same for heads without suppression.
        objective: loss terms, regularisers and their weights.
        pixels: from (batch, mean, seed) to the parametrised images.
        optimizer: from parameters to an optimiser that treats every pixel alone.
        schedule: of its learning rate.
        updates: of the pixels after each step, in this order.
        augmentation: random views.
        every_n_steps: steps between two swaps of the pseudo-targets.
    """

    rule: TargetRule
    matching: MatchingRule
    objective: Objective
    pixels: Callable[..., AbstractPixels]
    optimizer: OptimizerFactory
    schedule: Schedule
    updates: Sequence[PixelUpdate]
    augmentation: Augmentation
    every_n_steps: int = 1

    def __post_init__(self) -> None:
        if self.every_n_steps < 1:
            raise ConfigError(f"every_n_steps={self.every_n_steps}: choose at least 1")
