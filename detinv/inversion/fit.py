"""One batch of images through all of its steps, by Lightning's Trainer."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins import MixedPrecision
from pytorch_lightning.plugins.environments import ClusterEnvironment, LightningEnvironment
from pytorch_lightning.utilities.exceptions import MisconfigurationException, SIGTERMException

from detinv.errors import ConfigError
from detinv.inversion.callbacks.loss_scaling import LossScaling
from detinv.inversion.callbacks.pixel_updates import PixelUpdates
from detinv.inversion.callbacks.pseudo_targets import PseudoTargets
from detinv.inversion.data import step_loader
from detinv.inversion.modules.base import AbstractPixelModule
from detinv.inversion.modules.ensemble import Ensemble
from detinv.inversion.modules.inversion import Inversion
from detinv.inversion.modules.workers import cpu_threads
from detinv.inversion.preset import Preset
from detinv.layouts.batch import LayoutBatch
from detinv.layouts.layout import Layout
from detinv.runtime.processes import for_one_process
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
    """Invert one batch of layouts that share a canvas, in the ensemble's frame; see `invert` for the other arguments.

    Args:
        callbacks: run after those that set the targets and update the pixels.
        guards: run between those two.
        slots: object slots of each layout; the last bits of an image depend on their number.
        checkpoint: to continue from, of the same batch.
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
        preset.precondition if ensemble.trained_on_photographs else None,
        preset.settling,
    )
    targets = PseudoTargets(preset.rule, preset.matching, preset.every_n_steps)
    # Sums divided among threads would depend on the batch; only the network, see there, is worth several threads.
    with cpu_threads(1):
        fit_module(module, trainer_arguments, [targets, *guards, PixelUpdates(preset.updates), *callbacks], checkpoint)
    return module


def fit_module(
    module: AbstractPixelModule,
    trainer_arguments: Mapping[str, object],
    callbacks: Sequence[pl.Callback],
    checkpoint: Path | None = None,
) -> None:
    """Take all of the module's steps, or those that remain after `checkpoint`.

    Raises:
        KeyboardInterrupt: when interrupted, or asked to terminate.
    """
    scaling = [LossScaling()] if _is_float16(trainer_arguments) else []
    trainer = make_trainer(
        trainer_arguments,
        max_steps=module.steps,
        max_epochs=1,
        callbacks=[*scaling, *callbacks],
    )
    if module.steps:
        try:
            trainer.fit(module, step_loader(module.steps), ckpt_path=checkpoint, weights_only=True)
        except SIGTERMException as error:
            raise KeyboardInterrupt from error
        except SystemExit as error:
            # Lightning turns an interruption into this.
            if isinstance(error.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from error
            raise
    if trainer.interrupted:
        raise KeyboardInterrupt


def make_trainer(arguments: Mapping[str, Any], **fixed: Any) -> pl.Trainer:
    """Make Lightning's Trainer without what an inversion does not need; `fixed` wins over `arguments`.

    In float16 it leaves scaling to `LossScaling`: Lightning's own scaler skips the step of all images when the gradient
    of one overflows, and on a CPU Lightning would use bfloat16 instead.

    Raises:
        ConfigError: for arguments that Lightning does not accept.
    """
    plugins = _listed(arguments.get("plugins"))
    if for_one_process(arguments) and not any(isinstance(plugin, ClusterEnvironment) for plugin in plugins):
        # What SLURM's variables say of further tasks would be taken for processes of this Trainer.
        plugins.append(LightningEnvironment())
    if _is_float16(arguments):
        arguments = {key: value for key, value in arguments.items() if key != "precision"}
        device = device_of(arguments).type
        plugins.append(MixedPrecision("16-mixed", device, torch.amp.GradScaler(device, enabled=False)))
    defaults: dict[str, Any] = {
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_model_summary": False,
        "enable_progress_bar": False,
    }
    try:
        with quiet_lightning():
            return pl.Trainer(**{**defaults, **arguments, "plugins": plugins, **fixed})
    except (MisconfigurationException, ValueError, TypeError, RuntimeError) as error:
        raise ConfigError(f"trainer: {error} (see Lightning's Trainer for what its options take)") from error


def _is_float16(arguments: Mapping[str, Any]) -> bool:
    return str(arguments.get("precision")) == "16-mixed"


def _listed(plugins: Any) -> list[Any]:
    return [] if plugins is None else list(plugins) if isinstance(plugins, list | tuple) else [plugins]


def device_of(trainer_arguments: Mapping[str, Any]) -> torch.device:
    """Return the device on which a trainer with these arguments runs its module."""
    return make_trainer(trainer_arguments).strategy.root_device
