"""Loggers to choose from; `losses.csv` is written whatever is chosen."""

import os
from pathlib import Path
from typing import Literal

import wandb
from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger

from detinv.errors import ConfigError


def wandb_logger(
    save_dir: str | Path,
    project: str = "detinv",
    name: str | None = None,
    group: str | None = None,
    offline: bool | None = None,
) -> Logger:
    """Weights & Biases through Lightning's logger.

    Args:
        save_dir: where an offline run is kept.
        project, name, group: in the dashboard; the name of the folder by default.
        offline: true or false decides; otherwise the person's own WANDB_MODE does, and without it, offline.
    """
    mode: Literal["online", "offline"] | None = "online" if offline is False else "offline"
    if offline is None and "WANDB_MODE" in os.environ:
        mode = None
    run = wandb.init(
        project=project,
        name=name or Path(save_dir).name,
        group=group,
        dir=save_dir,
        mode=mode,
        # Its greetings would hide the table and the path of the picture.
        settings=wandb.Settings(silent=True),
    )
    return WandbLogger(experiment=run)


def tensorboard_logger(save_dir: str | Path) -> Logger:
    """TensorBoard event files under save_dir/tensorboard.

    Raises:
        ConfigError: when TensorBoard is not installed, naming the extra.
    """
    try:
        return TensorBoardLogger(save_dir, name="tensorboard", version="")
    except ModuleNotFoundError as error:
        raise ConfigError("logger=tensorboard needs the extra: pip install 'detinv[tensorboard]'") from error


def no_logger() -> None:
    """Nothing but files."""
