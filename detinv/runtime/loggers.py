"""Loggers to choose from; `losses.csv` is written whatever is chosen."""

import logging
import math
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import wandb
from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger

from detinv.errors import ConfigError
from detinv.inputs.printable import quoted, reason_of, suggestion
from detinv.viz.image import Picture

# Seconds until a dashboard counts as unreachable.
_PATIENCE = 30.0
# Seconds for which the end of a run waits for its uploads; W&B would wait for hours where the network is gone.
_UPLOAD_PATIENCE = 300
# What `wandb.Settings` takes; dryrun and run are older words for offline and online.
_MODE, _MODES = "WANDB_MODE", ("online", "offline", "disabled", "shared", "dryrun", "run")
# Where W&B's process keeps its log, in a folder wandb/logs.
_CACHE = "WANDB_CACHE_DIR"
_LOG = logging.getLogger("detinv")


class Dashboard:
    """Loggers that may fail: one that does is no longer used, and a warning says so. Results never depend on them.

    Args:
        loggers: Lightning loggers, or objects with the same methods.
    """

    def __init__(self, loggers: Sequence[Logger] = ()) -> None:
        self._loggers = list(loggers)

    @property
    def loggers(self) -> list[Logger]:
        """The loggers that still work."""
        return list(self._loggers)

    def __bool__(self) -> bool:
        return bool(self._loggers)

    def log(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers; those that are not finite are left out."""
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        self.tell(lambda logger: logger.log_metrics(finite, step))

    def show(self, name: str, picture: Picture, step: int | None = None) -> None:
        """Log a picture, with the loggers that support pictures."""
        self.tell(lambda logger: _show(logger, name, picture, step))

    def tell(self, action: Callable[[Logger], object]) -> None:
        """Call `action` with every logger that still works."""
        for logger in self.loggers:
            try:
                action(logger)
            except Exception as error:  # a network, a service, a disk: none of them may cost a result
                self._loggers.remove(logger)
                _LOG.warning("detinv: %s failed and is no longer used: %s", type(logger).__name__, reason_of(error))


def _show(logger: Logger, name: str, picture: Picture, step: int | None) -> None:
    if isinstance(logger, WandbLogger):
        logger.log_image(name, [picture], **({} if step is None else {"step": step}))
    elif isinstance(logger, TensorBoardLogger):
        logger.experiment.add_image(name, picture, step, dataformats="HWC")


def check_wandb(
    project: str = "detinv", name: str | None = None, group: str | None = None, offline: bool | None = None
) -> None:
    """Check what `wandb_logger` is to be called with, before there is a folder.

    Raises:
        ConfigError: for a project, name or group that W&B does not accept; for a mode in the environment, where that
            counts, that it does not have.
    """
    try:
        wandb.Settings(project=project, run_name=name, run_group=group)
    except (wandb.errors.UsageError, ValueError) as error:
        raise ConfigError(f"logger: {reason_of(error)}; correct it, or choose logger=none") from error
    if offline is None:
        _check_mode()


def _check_mode() -> None:
    mode = os.environ.get(_MODE)
    if mode and mode not in _MODES:
        raise ConfigError(
            f"the environment says {_MODE}={quoted(mode)}{suggestion(mode, _MODES)} (there are: {', '.join(_MODES)}); "
            "correct it, or choose logger=none"
        )


def wandb_logger(
    save_dir: str | Path,
    project: str = "detinv",
    name: str | None = None,
    group: str | None = None,
    offline: bool | None = None,
) -> Logger | None:
    """Make Lightning's logger for Weights & Biases.

    Online, a run that is resumed in its folder is resumed in the dashboard as well. Offline it starts a new W&B run,
    because `wandb sync` keeps only the last of several offline runs with the same id.

    Args:
        save_dir: folder of offline runs, and of the id of online ones.
        project, name, group: in the dashboard; the name is that of the folder by default.
        offline: whether to stay offline; None follows the environment variable WANDB_MODE, offline by default.

    Returns:
        None, after a warning, where W&B cannot even begin an offline run.

    Raises:
        ConfigError: for a project, name or group that W&B does not accept.
    """
    mode: Literal["online", "offline"] | None = "online" if offline is False else "offline"
    if offline is None and os.environ.get(_MODE):
        _check_mode()
        mode = None
    # A sweep's agent or the user may have set the run's id.
    free = not {"WANDB_RUN_ID", "WANDB_SWEEP_ID"} & os.environ.keys()

    def begin(mode: Literal["online", "offline"] | None) -> "wandb.Run":
        online = (mode or os.environ.get(_MODE)) == "online"
        # W&B's own process may have another working directory.
        folder = Path(save_dir).resolve()
        with _place_for_log(folder):
            return wandb.init(
                id=_run_id(Path(save_dir)) if online and free else None,
                resume="allow" if online and free else None,
                project=project,
                name=name or Path(save_dir).name,
                group=group,
                dir=folder,
                mode=mode,
                # Its messages would bury the results printed at the end.
                settings=wandb.Settings(silent=True, init_timeout=_PATIENCE, finish_timeout=_UPLOAD_PATIENCE),
            )

    if wandb.run is not None:
        # Left over from an earlier run that failed; W&B would continue it.
        _end_left_over(wandb.run)
    if mode != "offline":
        try:
            return WandbLogger(experiment=begin(mode))
        except Exception as error:  # a network, a service, its libraries: none of them may cost a run
            _LOG.warning(
                "detinv: W&B cannot be reached (%s); this run is stored offline, upload it with `wandb sync`",
                reason_of(error),
            )
    try:
        return WandbLogger(experiment=begin("offline"))
    except wandb.errors.UsageError as error:
        raise ConfigError(f"logger: {reason_of(error)}; correct it, or choose logger=none") from error
    except Exception as error:  # its process cannot be started, the disk is full: neither may cost a result
        _LOG.warning("detinv: W&B cannot begin a run (%s); this one has no dashboard", reason_of(error))
        return None


def _end_left_over(run: "wandb.Run") -> None:
    try:
        run.finish(exit_code=1)
    except Exception as error:  # what kept it from ending then may do so now
        _LOG.warning("detinv: W&B cannot end an earlier run (%s)", reason_of(error))


@contextmanager
def _place_for_log(folder: Path) -> Iterator[None]:
    """Let W&B's process keep its log in `folder` where there is no home for it: it would fill the terminal with it."""
    if _CACHE in os.environ or _home_takes_logs():
        yield
        return
    os.environ[_CACHE] = str(folder)
    try:
        yield
    finally:
        del os.environ[_CACHE]


def _home_takes_logs() -> bool:
    home = os.environ.get("HOME")
    cache = os.environ.get("XDG_CACHE_HOME") or (os.path.join(home, ".cache") if home else None)
    if cache is None:
        return False
    logs = Path(cache, "wandb", "logs")
    try:
        logs.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(logs, os.W_OK)


def _run_id(folder: Path) -> str:
    """Read this folder's W&B run id, or create it."""
    path = folder / "wandb" / "run_id"
    try:
        name = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        name = ""
    # A full disk may have left an empty file.
    if not name:
        name = secrets.token_hex(4)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name, encoding="utf-8")
    return name


def tensorboard_logger(save_dir: str | Path) -> Logger:
    """Make Lightning's logger for TensorBoard, with event files under save_dir/tensorboard.

    Raises:
        ConfigError: when TensorBoard is not installed, naming the extra.
    """
    try:
        return TensorBoardLogger(save_dir, name="tensorboard", version="")
    except ModuleNotFoundError as error:
        raise ConfigError("logger=tensorboard needs the extra: pip install 'detinv[tensorboard]'") from error


def no_logger() -> None:
    """Log nothing; results are written to files all the same."""
