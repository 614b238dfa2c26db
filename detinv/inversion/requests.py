"""Checks of an inversion's input, made before anything is loaded onto a device or written."""

import math
import os
from collections.abc import Mapping, Sequence
from numbers import Integral

from detinv.detectors.acceleration.compile import check_mode
from detinv.detectors.base import AbstractDetector
from detinv.errors import ConfigError, LayoutError
from detinv.inputs.printable import quoted
from detinv.inversion.fit import check_trainer, make_trainer
from detinv.inversion.modules.ensemble import Ensemble
from detinv.layouts.layout import Layout
from detinv.types import PRECISIONS, canonical_precision


def check_options(
    steps: object,
    batch_size: object,
    log_images_every_n_steps: object,
    trainer: Mapping[str, object],
    compile_mode: object = None,
    allow_tf32: object = None,
    seed: object = 0,
) -> None:
    """Raise ConfigError for unusable values, and for arguments that Lightning's Trainer does not accept."""
    check_precision(trainer.get("precision", PRECISIONS[0]))
    check_mode(compile_mode)
    if not isinstance(allow_tf32, bool | None):
        raise ConfigError(f"allow_tf32={allow_tf32}: choose true, false or null")
    _check_whole("log_images_every_n_steps", log_images_every_n_steps, 1)
    _check_whole("steps", steps, 0)
    _check_whole("batch_size", batch_size, 1)
    # 1.0 would draw other numbers than 1, and be taken for the same when a run is resumed.
    _check_whole("seed", seed)
    check_trainer(trainer)
    if trainer.get("devices", 1) in (1, "1") and trainer.get("num_nodes", 1) == 1:
        make_trainer(trainer)


def _check_whole(name: str, value: object, least: float = -math.inf) -> None:
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise ConfigError(f"{name}={quoted(value)}: choose a whole number")
    if value < least:
        raise ConfigError(f"{name}={value}: choose {least} or more")


def check_precision(precision: object, name: str = "trainer.precision") -> None:
    """Raise ConfigError for a precision that an inversion cannot run a network in, calling the option `name`."""
    if canonical_precision(precision) not in PRECISIONS:
        # True half precision would convert the detector itself.
        raise ConfigError(f"{name}={precision}: choose one of {', '.join(PRECISIONS)}")


def as_layouts(given: Sequence[Layout]) -> list[Layout]:
    """Return the layouts that a caller gives as a list, once they are known to be one."""
    if isinstance(given, Layout):
        raise LayoutError(f"layouts: expected a list, got a single layout; write [layout] for {given.id}")
    if isinstance(given, str | os.PathLike):
        raise LayoutError(
            "layouts: expected a list of layouts or a source of them, got the path of a file; read it by "
            "detinv.FileLayouts(path) or detinv.CocoLayouts(path)"
        )
    layouts = list(given)
    for number, layout in enumerate(layouts):
        if not isinstance(layout, Layout):
            raise LayoutError(f"layouts[{number}]: expected a Layout, got a {type(layout).__name__}")
    return layouts


def check_layouts(layouts: Sequence[Layout], detector: AbstractDetector | Ensemble) -> None:
    """Raise LayoutError for the first layout that cannot be inverted with this detector, or ensemble."""
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
