"""A run in the dashboard, which is always closed at the end."""

import inspect
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers import Logger, WandbLogger

from detinv.config.instantiate import locate
from detinv.errors import ConfigError
from detinv.runtime.loggers import Dashboard, check_wandb, wandb_logger

_WANDB = f"{wandb_logger.__module__}.{wandb_logger.__qualname__}"


def check_dashboard(config: DictConfig) -> None:
    """Raise ConfigError if the run's logger cannot be opened as it is configured, before anything is written."""
    entries = {str(key): value for key, value in config.logger.items()}
    target = entries.pop("_target_", None)
    if target is None:
        return
    try:
        inspect.signature(locate(target)).bind(**{key: value for key, value in entries.items() if key[0] != "_"})
    except TypeError as error:
        raise ConfigError(f"logger: {error}; choose one logger, with options that it has") from error
    if target == _WANDB:
        check_wandb(**{key: value for key, value in entries.items() if key[0] != "_" and key != "save_dir"})


@contextmanager
def dashboard(logger: Logger | None, config: DictConfig) -> Iterator[Dashboard]:
    """Open the run in the dashboard; close it at the end, marked as failed after an error."""
    board = Dashboard([] if logger is None else [logger])
    failed = True
    try:
        board.tell(lambda one: one.log_hyperparams(OmegaConf.to_container(config)))  # type: ignore[arg-type]
        yield board
        failed = False
    finally:
        board.tell(lambda one: _close(one, failed))


def _close(logger: Logger, failed: bool) -> None:
    if isinstance(logger, WandbLogger):
        logger.experiment.finish(exit_code=int(failed))
    logger.finalize("failed" if failed else "success")


def numbers_of(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Collect the finite numbers of nested mappings, with their keys joined by slashes."""
    found: dict[str, float] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= numbers_of(value, f"{prefix}{key}/")
        elif isinstance(value, int | float) and math.isfinite(value):
            found[f"{prefix}{key}"] = value
    return found
