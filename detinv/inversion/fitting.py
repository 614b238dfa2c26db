"""One batch of images through all of its steps, by Lightning's Trainer."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.exceptions import MisconfigurationException, SIGTERMException

from detinv.errors import ConfigError
from detinv.inversion.callbacks.pixel_updates import PixelUpdates
from detinv.inversion.callbacks.pseudo_targets import PseudoTargets
from detinv.inversion.data import step_loader
from detinv.inversion.modules.base import AbstractPixelModule
from detinv.inversion.modules.ensemble import Ensemble
from detinv.inversion.modules.inversion import Inversion
from detinv.inversion.modules.network import cpu_threads
from detinv.inversion.preset import Preset
from detinv.layouts.batch import LayoutBatch
from detinv.layouts.layout import Layout
from detinv.runtime.quiet import quiet_lightning


def fit_batch(
    ensemble: Ensemble,
    layouts: Sequence[Layout],
    preset: Preset,
    steps: int,
    seed: int,
    trainer_arguments: Mapping[str, object],
    callbacks: Sequence[pl.Callback] = (),
    guards: Sequence[pl.Callback] = (),
    slots: int | None = None,
    checkpoint: Path | None = None,
) -> Inversion:
    """Invert one batch: layouts that share a canvas, in the ensemble's frame; see `invert` for the rest.

    Args:
        callbacks: run after those that swap the targets and update the pixels.
        guards: run between the two.
        slots: places for objects in each layout. Sums over them round alike only for as many places.
        checkpoint: to go on from, of the very same batch.
    """
    batch = LayoutBatch.collate(layouts, ensemble.size_divisor, slots)
    module = Inversion(
        ensemble,
        batch,
        preset.pixels(batch, ensemble.pixel_mean.cpu(), seed),
        preset.objective,
        preset.optimizer,
        preset.schedule,
        steps,
        preset.augmentation,
        seed,
        preset.regularisers,
    )
    targets = PseudoTargets(preset.rule, preset.matching, preset.every_n_steps)
    # What is not the network's takes no time, and sums that are shared among threads would depend on the batch.
    with cpu_threads(1):
        fit_module(module, trainer_arguments, [targets, *guards, PixelUpdates(preset.updates), *callbacks], checkpoint)
    return module


def fit_module(
    module: AbstractPixelModule,
    trainer_arguments: Mapping[str, object],
    callbacks: Sequence[pl.Callback],
    checkpoint: Path | None = None,
) -> None:
    """Take all of the module's steps, or those that `checkpoint` has not.

    Raises:
        KeyboardInterrupt: when interrupted, or asked to terminate.
    """
    trainer = make_trainer(
        trainer_arguments,
        max_steps=module.steps,
        max_epochs=1,
        callbacks=list(callbacks),
    )
    if module.steps:
        try:
            trainer.fit(module, step_loader(module.steps), ckpt_path=checkpoint, weights_only=True)
        except SIGTERMException as error:
            raise KeyboardInterrupt from error
        except SystemExit as error:
            # What Lightning makes of an interruption.
            if isinstance(error.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from error
            raise
    if trainer.interrupted:
        raise KeyboardInterrupt


def make_trainer(arguments: Mapping[str, Any], **fixed: Any) -> pl.Trainer:
    """Lightning's Trainer without what an inversion does not need; `fixed` wins over `arguments`."""
    defaults: dict[str, Any] = {
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_model_summary": False,
        "enable_progress_bar": False,
    }
    try:
        with quiet_lightning():
            return pl.Trainer(**{**defaults, **arguments, **fixed})
    except (MisconfigurationException, ValueError, TypeError, RuntimeError) as error:
        raise ConfigError(f"trainer: {error} (see Lightning's Trainer for what its options take)") from error


def device_of(trainer_arguments: Mapping[str, Any]) -> torch.device:
    """The device on which a trainer with these arguments runs what it is given."""
    return make_trainer(trainer_arguments).strategy.root_device
