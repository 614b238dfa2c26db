"""Loggers to choose from; `losses.csv` is written whatever is chosen."""

import logging
import math
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import wandb
from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger

from detinv.errors import ConfigError
from detinv.viz.image import Picture

# Seconds until a dashboard counts as out of reach.
_PATIENCE = 30.0
_LOG = logging.getLogger("detinv")


class Dashboard:
    """Loggers that may fail: one that does is told nothing more, and a warning says so. Results do not depend on it.

    Args:
        loggers: of Lightning, or anything with their methods.
    """

    def __init__(self, loggers: Sequence[Logger] = ()) -> None:
        self._loggers = list(loggers)

    @property
    def loggers(self) -> list[Logger]:
        """Those that still work."""
        return list(self._loggers)

    def __bool__(self) -> bool:
        return bool(self._loggers)

    def log(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Numbers; those that are not finite are left out."""
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        self.tell(lambda logger: logger.log_metrics(finite, step))

    def show(self, name: str, picture: Picture, step: int | None = None) -> None:
        """A picture, to loggers that show any."""
        self.tell(lambda logger: _show(logger, name, picture, step))

    def tell(self, action: Callable[[Logger], object]) -> None:
        """Do something with every logger that still works."""
        for logger in self.loggers:
            try:
                action(logger)
            except Exception as error:  # anything: a network, a service, a disk; none of them may cost a result
                self._loggers.remove(logger)
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                _LOG.warning("detinv: %s failed and is told nothing more: %s", type(logger).__name__, reason)


def _show(logger: Logger, name: str, picture: Picture, step: int | None) -> None:
    if isinstance(logger, WandbLogger):
        logger.log_image(name, [picture], **({} if step is None else {"step": step}))
    elif isinstance(logger, TensorBoardLogger):
        logger.experiment.add_image(name, picture, step, dataformats="HWC")


def wandb_logger(
    save_dir: str | Path,
    project: str = "detinv",
    name: str | None = None,
    group: str | None = None,
    offline: bool | None = None,
) -> Logger:
    """Weights & Biases through Lightning's logger.

    With the service at hand, a run that goes on in its folder goes on in the dashboard. Offline it is begun anew there,
    because of two offline runs of one id `wandb sync` keeps the last alone.

    Args:
        save_dir: where an offline run, and the id of one that is not, are kept.
        project, name, group: in the dashboard; the name of the folder by default.
        offline: true or false decides; otherwise the person's own WANDB_MODE does, and without it, offline.
    """
    mode: Literal["online", "offline"] | None = "online" if offline is False else "offline"
    if offline is None and "WANDB_MODE" in os.environ:
        mode = None
    # An agent of a sweep, or the person, may have said which run this is.
    free = not {"WANDB_RUN_ID", "WANDB_SWEEP_ID"} & os.environ.keys()

    def begin(mode: Literal["online", "offline"] | None) -> "wandb.Run":
        online = (mode or os.environ.get("WANDB_MODE")) == "online"
        return wandb.init(
            id=_run_id(Path(save_dir)) if online and free else None,
            resume="allow" if online and free else None,
            project=project,
            name=name or Path(save_dir).name,
            group=group,
            # W&B's own process may have begun in another folder.
            dir=Path(save_dir).resolve(),
            mode=mode,
            # Its greetings would hide the table and the path of the picture.
            settings=wandb.Settings(silent=True, init_timeout=_PATIENCE),
        )

    if wandb.run is not None:
        # One that failed and was left alone; W&B would go on with it.
        wandb.run.finish(exit_code=1)
    try:
        run = begin(mode)
    except (wandb.Error, OSError) as error:
        if mode == "offline":
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        _LOG.warning("detinv: W&B cannot be reached (%s); this run is kept offline, `wandb sync` uploads it", reason)
        run = begin("offline")
    return WandbLogger(experiment=run)


def _run_id(folder: Path) -> str:
    """What W&B calls the run of this folder, for good."""
    path = folder / "wandb" / "run_id"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        name = secrets.token_hex(4)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        return name


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
