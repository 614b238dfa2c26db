"""The main job: layouts in, inverted images and what the detector sees in them out."""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import Tensor

from detinv.detectors.base import AbstractDetector
from detinv.errors import ConfigError, LayoutError
from detinv.inversion.callbacks.image_logging import ImageLogging
from detinv.inversion.callbacks.loss_recorder import LossRecorder
from detinv.inversion.callbacks.pixel_updates import PixelUpdates
from detinv.inversion.callbacks.progress import StepProgress, step_progress
from detinv.inversion.callbacks.pseudo_targets import PseudoTargets
from detinv.inversion.data import step_loader
from detinv.inversion.module import Inversion
from detinv.inversion.lanes import cpu_threads
from detinv.inversion.panel import Panel, as_panel
from detinv.inversion.pixel_module import AbstractPixelModule
from detinv.inversion.pixels import batches_by_canvas
from detinv.inversion.presets import load_recipe
from detinv.inversion.recipe import Recipe
from detinv.layouts.batch import LayoutBatch
from detinv.layouts.layout import Detections, Layout
from detinv.metrics.coco_ap import average_precision, box_and_mask_ap
from detinv.metrics.redetection import redetection
from detinv.quiet import quiet_lightning
from detinv.results.record import InversionResult
from detinv.results.versions import versions
from detinv.zoo.weights import weight_hash

_DECIMALS = 3
_PRECISIONS = ("32-true", "32", "bf16-mixed", "16-mixed")


def invert(
    detector: AbstractDetector | str | Sequence[AbstractDetector | str] | Panel,
    layouts: Sequence[Layout],
    recipe: Recipe | str = "default",
    *,
    steps: int = 200,
    seed: int = 0,
    batch_size: int = 16,
    trainer: Mapping[str, object] | None = None,
    loggers: Sequence[pl.loggers.Logger] = (),
    log_images_every_n_steps: int = 100,
    progress: bool = True,
) -> InversionResult:
    """Optimise one image for each layout until `detector` reports the layout in it.

    Args:
        detector: or the name of a registered one; or several, for images that all of them read as the layout. They are
            frozen and stay unchanged.
        layouts: boxes in any frame; they are resized to the (first) detector's own input size. Labels are its own.
        recipe: or the name of a preset.
        steps: optimiser updates for each image; 0 gives the start images, the control of every figure.
        seed: of start images and views; each layout draws its own numbers from it.
        batch_size: images optimised together; it does not change any image.
        trainer: arguments of `pytorch_lightning.Trainer`, such as `precision` or `accelerator`.
        loggers: Lightning loggers; they are not closed.
        log_images_every_n_steps: between two grids of current images in the loggers.
        progress: show a progress bar.

    Returns:
        Images in 8 bit, the detector's own detections in just those, and metrics.

    Raises:
        DetinvError: when layouts do not suit the detector, or two have the same id.
    """
    panel = as_panel(detector)
    if isinstance(recipe, str):
        recipe = load_recipe(recipe)
    layouts = [layout.resized(panel.network_size(layout.image_size)) for layout in layouts]
    check_layouts(layouts, panel)
    check_options(steps, batch_size, log_images_every_n_steps, trainer or {})
    before, home = _hashes(panel), panel.pixel_mean.device

    images: dict[int, Tensor] = {}
    losses: list[dict[str, float]] = []
    batches = batches_by_canvas(layouts, panel.batch_divisor, batch_size)
    slots = max(len(layout) for layout in layouts)
    started = time.perf_counter()
    with ExitStack() as stack:
        stack.enter_context(quiet_lightning())
        callbacks: list[pl.Callback] = []
        if progress:
            display = stack.enter_context(step_progress())
            callbacks.append(StepProgress(display, "inverting", len(batches) * steps))
        for number, members in enumerate(batches):
            chosen = [layouts[index] for index in members]
            recorder = LossRecorder(first_step=number * steps, batch_number=number)
            module = fit_batch(
                panel,
                chosen,
                recipe,
                steps,
                seed,
                trainer or {},
                loggers,
                [*callbacks, recorder, ImageLogging(chosen, recorder, log_images_every_n_steps, number * steps)],
                slots,
            )
            images |= dict(zip(members, module.images(), strict=True))
            losses += recorder.rows
    seconds = time.perf_counter() - started
    # Lightning leaves what it trained on the CPU.
    panel.to(home)

    if _hashes(panel) != before:
        raise RuntimeError("a detector's weights changed during the inversion; its images would prove nothing")
    ordered = [images[index] for index in range(len(layouts))]
    readings = {reader.name: reader.detect(ordered) for reader in panel}
    metrics = _judge_all(layouts, readings, panel.class_names)
    metrics |= {
        "steps": steps,
        "seconds": round(seconds, 3),
        "seconds_per_step": round(seconds / (steps * len(batches)), 5) if steps else None,
        "images": len(layouts),
        "batch_size": batch_size,
        "seed": seed,
        "weight_hash": before if len(panel) > 1 else next(iter(before.values())),
        "versions": versions(),
    }
    return InversionResult(layouts, ordered, readings, panel.class_names, metrics, losses)


def _hashes(panel: Panel) -> dict[str, str]:
    return {reader.name: weight_hash(reader.detector) for reader in panel}


def check_options(
    steps: int, batch_size: int, log_images_every_n_steps: int, trainer: Mapping[str, object]
) -> None:
    """Raise ConfigError for numbers that mean nothing, and for what Lightning's Trainer does not take."""
    precision = str(trainer.get("precision", _PRECISIONS[0]))
    if precision not in _PRECISIONS:
        # True half precision would convert the detector itself.
        raise ConfigError(f"trainer.precision={precision}: choose one of {', '.join(_PRECISIONS)}")
    if log_images_every_n_steps < 1:
        raise ConfigError(f"log_images_every_n_steps={log_images_every_n_steps}: choose at least 1")
    if steps < 0:
        raise ConfigError(f"steps={steps}: choose 0 or more")
    if batch_size < 1:
        raise ConfigError(f"batch_size={batch_size}: choose at least 1")
    _trainer(trainer)


def check_layouts(layouts: Sequence[Layout], detector: AbstractDetector | Panel) -> None:
    """Raise LayoutError if a layout cannot be asked of this detector, or of these, naming it."""
    if not layouts:
        raise LayoutError("there is no layout to invert")
    seen: set[str] = set()
    for layout in layouts:
        if layout.id in seen:
            raise LayoutError(f"two layouts are called {layout.id!r}; ids must differ")
        seen.add(layout.id)
        if len(layout) > detector.detections_per_image:
            raise LayoutError(
                f"layout {layout.id}: {len(layout)} objects, but this detector reports at most "
                f"{detector.detections_per_image} per image; drop some"
            )
        if len(layout) and int(layout.labels.max()) >= len(detector.class_names):
            raise LayoutError(
                f"layout {layout.id}: label {int(layout.labels.max())} is beyond the detector's "
                f"{len(detector.class_names)} classes"
            )


def _trainer(arguments: Mapping[str, Any], **fixed: Any) -> pl.Trainer:
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


def judge(
    layouts: Sequence[Layout], detections: Sequence[Detections], class_names: Sequence[str]
) -> dict[str, Any]:
    """Average precision (percent) and redetection counts; mask AP as "mask_AP" where both sides have masks."""
    scores = box_and_mask_ap(layouts, detections, class_names)
    rounded = {name: round(value, _DECIMALS) for name, value in scores.items()}
    return {**rounded, **redetection(layouts, detections)}


def _judge_all(
    layouts: Sequence[Layout], readings: Mapping[str, Sequence[Detections]], class_names: Sequence[str]
) -> dict[str, Any]:
    """`judge` of what each detector sees; of several, the worst of each number, then all of them by detector."""
    judged = {}
    for name, detections in readings.items():
        control = {"AP_of_other_layouts": _mismatched(layouts, detections, class_names)}
        judged[name] = judge(layouts, detections, class_names) | control
    if len(judged) == 1:
        return next(iter(judged.values()))
    everyone = list(judged.values())
    shared = [key for key in everyone[0] if all(key in one and one[key] is not None for one in everyone)]
    # Many false positives are bad, as is what the control finds; of all else a lot is good.
    bad = ("false_positives", "AP_of_other_layouts")
    worst = {key: (max if key in bad else min)(one[key] for one in everyone) for key in shared}
    return worst | {f"{name}/{key}": value for name, one in judged.items() for key, value in one.items()}


def _mismatched(
    layouts: Sequence[Layout], detections: Sequence[Detections], class_names: Sequence[str]
) -> float | None:
    """AP of the same detections against the next image's layout: a control that must be near zero."""
    if len(layouts) < 2 or len({layout.image_size for layout in layouts}) > 1:
        return None
    return round(average_precision([*layouts[1:], layouts[0]], detections, class_names)["AP"], _DECIMALS)


def fit_batch(
    panel: Panel,
    layouts: Sequence[Layout],
    recipe: Recipe,
    steps: int,
    seed: int,
    trainer_arguments: Mapping[str, object],
    loggers: Sequence[pl.loggers.Logger],
    callbacks: Sequence[pl.Callback],
    slots: int | None = None,
) -> Inversion:
    """Invert one batch: layouts that share a canvas, in the panel's frame; see `invert` for the rest.

    Args:
        callbacks: run after those that swap the targets and update the pixels.
        slots: places for objects in each layout. Sums over them round alike only for as many places.
    """
    batch = LayoutBatch.collate(layouts, panel.size_divisor, slots)
    module = Inversion(
        panel,
        batch,
        recipe.pixels(batch, panel.pixel_mean.cpu(), seed),
        recipe.objective,
        recipe.optimizer,
        recipe.schedule,
        steps,
        recipe.augmentation,
        seed,
    )
    targets = PseudoTargets(recipe.rule, recipe.matching, recipe.every_n_steps)
    # What is not the network's takes no time, and sums that are shared among threads would depend on the batch.
    with cpu_threads(1):
        fit_module(module, trainer_arguments, loggers, [targets, PixelUpdates(recipe.updates), *callbacks])
    return module


def fit_module(
    module: AbstractPixelModule,
    trainer_arguments: Mapping[str, object],
    loggers: Sequence[pl.loggers.Logger],
    callbacks: Sequence[pl.Callback],
) -> None:
    """Take all of the module's steps."""
    trainer = _trainer(
        trainer_arguments,
        max_steps=module.steps,
        max_epochs=1,
        logger=list(loggers) or False,
        callbacks=list(callbacks),
    )
    if module.steps:
        trainer.fit(module, step_loader(module.steps))
    if trainer.interrupted:
        raise KeyboardInterrupt
