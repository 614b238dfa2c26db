"""A preset: everything that says how to invert, but not what."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from detinv.config.composition.suited import DEFAULT, PHOTOGRAPHS
from detinv.config.folders import choices, config_dir
from detinv.config.instantiate import compose_choice, instantiate
from detinv.errors import ConfigError
from detinv.inputs.printable import suggestion
from detinv.inputs.ranges import check_range
from detinv.inversion.modules.base import OptimizerFactory
from detinv.inversion.modules.ensemble import Ensemble
from detinv.inversion.objective.objective import TERM_NAMES, Objective
from detinv.inversion.objective.settling import Settling
from detinv.inversion.optim.schedules import Schedule
from detinv.inversion.pixels.augmentation import Augmentation
from detinv.inversion.pixels.pixels import AbstractPixels
from detinv.inversion.pixels.precondition import Preconditioner
from detinv.inversion.pixels.updates import PixelUpdate
from detinv.inversion.regularisers.base import AbstractRegulariser
from detinv.inversion.targets.base import MatchingRule, TargetRule
from detinv.layouts.batch import LayoutBatch
from detinv.layouts.layout import Layout


@dataclass(frozen=True)
class Preset:
    """A way of inverting.

    Args:
        rule: how pseudo-targets follow from the current outputs.
        matching: the same for heads without suppression.
        objective: loss terms and their weights.
        pixels: from (batch, mean, seed) to the parametrised images.
        optimizer: from parameters to an optimiser that treats every pixel alone.
        schedule: of its learning rate.
        updates: of the pixels after each step, in this order.
        augmentation: random views.
        regularisers: priors on the images, by the names that their terms have in logs.
        precondition: of each image's gradient, for detectors trained on photographs; None leaves it as it is.
        settling: other values for the last steps; None for the same.
        steps: optimiser updates for each image that the other values are meant for; a run may take another number.
        every_n_steps: steps between two swaps of the pseudo-targets.

    Raises:
        ConfigError: for a part of the wrong kind, or a number out of range.
    """

    rule: TargetRule
    matching: MatchingRule
    objective: Objective
    pixels: Callable[..., AbstractPixels]
    optimizer: OptimizerFactory
    schedule: Schedule
    updates: Sequence[PixelUpdate]
    augmentation: Augmentation
    steps: int = 200
    every_n_steps: int = 1
    regularisers: Mapping[str, AbstractRegulariser] = field(default_factory=dict)
    precondition: Preconditioner | None = None
    settling: Settling | None = None

    def __post_init__(self) -> None:
        check_range(self, "steps")
        check_range(self, "every_n_steps", least=1)
        if not all(map(callable, (*self.updates, self.schedule, self.pixels, self.optimizer))):
            raise ConfigError("preset: updates, schedule, pixels and optimizer must be functions")
        for name, one in self.regularisers.items():
            if not isinstance(one, AbstractRegulariser):
                raise ConfigError(f"preset.regularisers.{name}: {type(one).__name__} is not a regulariser")
            if name in TERM_NAMES or "/" in name:
                raise ConfigError(f"preset.regularisers.{name}: choose another name; this one is taken by a loss term")
        # Parts that are built in the middle of a run are tried once, on next to nothing: a mistake in them shows here.
        empty = Layout(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), (8, 8), "empty")
        self.optimizer(self.pixels(LayoutBatch.collate([empty]), torch.full((3,), 0.5), 0).parameters())


def preset_name_for(ensemble: Ensemble) -> str:
    """Return the name of the preset that suits what the detectors were trained on."""
    return PHOTOGRAPHS if ensemble.trained_on_photographs else DEFAULT


def load_preset(name: str = "default") -> Preset:
    """Load a preset that ships with detinv.

    Args:
        name: of a file in configs/preset, without its ending.

    Raises:
        ConfigError: when there is no preset of that name; suggests the nearest.
    """
    names = choices(config_dir(), "preset")
    if name not in names:
        raise ConfigError(f"unknown preset {name!r}{suggestion(name, names)} (known: {', '.join(names)})")
    return instantiate(compose_choice("preset", name))
