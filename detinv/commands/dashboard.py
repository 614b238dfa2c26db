"""A run in the dashboard: opened, told, and closed whatever happens."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger

from detinv.viz.image import Picture


@contextmanager
def dashboard(logger: Logger | None, config: DictConfig) -> Iterator[list[Logger]]:
    """The run in the dashboard, closed whatever happens, and marked as failed if something did."""
    if logger is None:
        yield []
        return
    failed = True
    try:
        logger.log_hyperparams(OmegaConf.to_container(config))  # type: ignore[arg-type]
        yield [logger]
        failed = False
    finally:
        if isinstance(logger, WandbLogger):
            logger.experiment.finish(exit_code=int(failed))
        logger.finalize("failed" if failed else "success")


def numbers_of(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The finite numbers of nested mappings, with their keys joined by slashes."""
    found: dict[str, float] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= numbers_of(value, f"{prefix}{key}/")
        elif isinstance(value, int | float) and math.isfinite(value):
            found[f"{prefix}{key}"] = value
    return found


def log_figures(logger: Logger, figures: Mapping[str, Picture]) -> None:
    """Pictures by name, to loggers that show any."""
    for name, picture in figures.items():
        if isinstance(logger, WandbLogger):
            logger.log_image(name, [picture])
        elif isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(name, picture, dataformats="HWC")
