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
from detinv.inputs.printable import quoted
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

_STEPS = "an inversion takes the number of steps that the option steps says"
_ALONE = "it would make an image depend on the others of its batch; write an optimizer of your own instead"
# Arguments that would leave images unfinished, or have no effect, without a word.
_REFUSED = {
    **dict.fromkeys(("max_steps", "min_steps", "max_epochs", "min_epochs", "max_time"), _STEPS),
    **dict.fromkeys(("limit_train_batches", "overfit_batches", "fast_dev_run", "accumulate_grad_batches"), _STEPS),
    "gradient_clip_val": _ALONE,
    "logger": "choose the loggers of a run by logger=NAME, or from Python by loggers=[...]",
}


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
        callbacks: run after those that set the targets and update the pixels, and after the Trainer's own arguments'.
        guards: run between those two.
        slots: object slots of each layout; the last bits of an image depend on their number.
        checkpoint: to continue from, of the same batch.
    """
    batch = LayoutBatch.collate(layouts, ensemble.size_divisor, slots)
    pixels = preset.pixels(batch, ensemble.pixel_mean.cpu(), seed)
    if ensemble.trained_on_photographs:
        pixels.most_contrast = ensemble.contrast
    module = Inversion(
        ensemble,
        batch,
        pixels,
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
        fit_module(module, trainer_arguments, [targets, *guards, PixelUpdates(preset.updates)], callbacks, checkpoint)
    return module


def fit_module(
    module: AbstractPixelModule,
    trainer_arguments: Mapping[str, object],
    updates: Sequence[pl.Callback],
    callbacks: Sequence[pl.Callback] = (),
    checkpoint: Path | None = None,
) -> None:
    """Take all of the module's steps, or those that remain after `checkpoint`.

    Afterwards the detectors are on the device where they were.

    Args:
        updates: callbacks that set targets and update the pixels; those of the Trainer's arguments follow.
        callbacks: run last.

    Raises:
        ConfigError: when one of the Trainer arguments' callbacks ended the run before its last step.
        KeyboardInterrupt: when interrupted, or asked to terminate.
    """
    scaling = [LossScaling()] if _is_float16(trainer_arguments) else []
    own = _listed(trainer_arguments.get("callbacks"))
    trainer = make_trainer(
        trainer_arguments,
        max_steps=module.steps,
        max_epochs=1,
        callbacks=[*scaling, *updates, *own, *callbacks],
    )
    home = module.ensemble.pixel_mean.device
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
        finally:
            # Lightning leaves what it trained on the CPU, and what failed anywhere.
            module.ensemble.to(home)
    if trainer.interrupted:
        raise KeyboardInterrupt
    if own and trainer.global_step < module.steps:
        # Such images would be taken for finished ones. Other callbacks, as in a benchmark, end runs on purpose.
        raise ConfigError(
            f"trainer: a callback ended the run after step {trainer.global_step} of {module.steps}; to have fewer, "
            "choose steps"
        )


def check_trainer(arguments: Mapping[str, Any]) -> None:
    """Raise ConfigError for an argument of Lightning's Trainer that an inversion cannot follow."""
    for name in sorted(_REFUSED.keys() & arguments.keys()):
        if arguments[name] is not None and arguments[name] is not False:
            raise ConfigError(f"trainer.{name}={quoted(arguments[name])}: leave it out; {_REFUSED[name]}")
    for one in _listed(arguments.get("callbacks")):
        if not isinstance(one, pl.Callback):
            raise ConfigError(
                f"trainer.callbacks: {quoted(one)} is not one of Lightning's callbacks; give them from Python"
            )


def make_trainer(arguments: Mapping[str, Any], **fixed: Any) -> pl.Trainer:
    """Make Lightning's Trainer without what an inversion does not need; `fixed` wins over `arguments`.

    In float16 it leaves scaling to `LossScaling`: Lightning's own scaler skips the step of all images when the gradient
    of one overflows, and on a CPU Lightning would use bfloat16 instead.

    Raises:
        ConfigError: for arguments that Lightning does not accept, and those that an inversion cannot follow.
    """
    check_trainer(arguments)
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


def _listed(given: Any) -> list[Any]:
    """Return plugins or callbacks as a list; Lightning's Trainer takes a single one as well."""
    return [] if given is None else list(given) if isinstance(given, list | tuple) else [given]


def device_of(trainer_arguments: Mapping[str, Any]) -> torch.device:
    """Return the device on which a trainer with these arguments runs its module."""
    return make_trainer(trainer_arguments).strategy.root_device
