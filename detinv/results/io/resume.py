"""Which run a folder belongs to: a run may be resumed in its own folder, and in no other.

Only options are compared here. Whether the files that they name have changed is for those to tell who keep results: the
archive of an inversion, the store of an experiment and the checkpoint of a training go by contents.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from detinv.config.composition.kinds import flat_values
from detinv.config.renamed import is_old_name
from detinv.config.targets import moved_to
from detinv.errors import OutputError
from detinv.inputs.path_modules import as_written
from detinv.results.io.files import prepare_out_dir, remove_file, removed_if_empty, write_text
from detinv.results.io.in_use import LOCK, held
from detinv.types import canonical_precision

_CONFIG = "config.yaml"
# Options that do not change results: where they are written, how a run is followed, how work is divided.
_IRRELEVANT = (
    "out_dir",
    "logger",
    "batch_size",
    "checkpoint_every_n_seconds",
    "log_images_every_n_steps",
    "trust_config",
    "trainer.devices",
    "trainer.num_nodes",
    "workers",
    "processes",
)
# Lightning has two names for one precision.
_PRECISION = "trainer.precision"
# Folders of dashboards, which a run that failed at once leaves behind without any result.
_DASHBOARDS = ("wandb", "tensorboard")


@contextmanager
def claimed_folder(config: DictConfig) -> Iterator[Path]:
    """Create `config.out_dir`, claim it as `claim_folder` does, and hold it against other processes within the block.

    Raises:
        OutputError: when it cannot be written, belongs to another run, or is in use.
    """
    folder = prepare_out_dir(config.out_dir)
    with held(folder):
        claim_folder(folder, config)
        yield folder


def claim_folder(folder: Path, config: DictConfig) -> bool:
    """Write `config.yaml` into an existing folder, unless it is there already with the same configuration.

    Args:
        folder: the `out_dir` of the run.
        config: the complete configuration of the run.

    Returns:
        Whether the folder belonged to this run already.

    Raises:
        OutputError: when a run with another configuration has left results there, naming the first value that
            differs; when an earlier version of detinv has; when its file cannot be read.
    """
    path = folder / _CONFIG
    left = {entry.name for entry in folder.iterdir()} - {_CONFIG, LOCK, *_DASHBOARDS}
    if path.is_file() and left:
        before = _options(_read(path))
        if any(is_old_name(key) or _has_moved(key, value) for key, value in before.items()):
            raise OutputError(f"out_dir {folder} holds results of an earlier version of detinv; choose another out_dir")
        _check_same(folder, before, _options(config))
        return True
    write_text(path, OmegaConf.to_yaml(config))
    return False


@contextmanager
def replaced_folder(config: DictConfig) -> Iterator[Path]:
    """Create and hold `config.out_dir` for a command that does not resume, from before anything is computed.

    What was created and is still empty at the end, after an error, is removed.

    Args:
        config: the complete configuration; results of the same command in its `out_dir` may be replaced.

    Raises:
        OutputError: when the folder cannot be written, is in use, or holds the results of another command, which would
            then be neither resumed nor told from these.
    """
    folder = Path(config.out_dir)
    with removed_if_empty(folder), held(prepare_out_dir(folder)):
        path = folder / _CONFIG
        if path.is_file() and _names(_read(path)) != _names(config):
            raise OutputError(f"out_dir {folder} holds the results of another command; choose another out_dir")
        yield folder


def replace_results(folder: Path, config: DictConfig, *results: str) -> None:
    """Remove what an earlier call of a command has left, and write `config.yaml`, before new results are written.

    So a full disk or a crash in between leaves no result beside another configuration than its own.

    Args:
        folder: see `replaced_folder`.
        config: the complete configuration.
        results: names of files that may be there.

    Raises:
        OutputError: when one cannot be removed, or the configuration cannot be written.
    """
    for name in results:
        remove_file(folder / name)
    write_text(folder / _CONFIG, OmegaConf.to_yaml(config))


def _names(config: DictConfig) -> set[str]:
    """Return the options that a command has, whatever is chosen; a detector may be left out."""
    return {str(name) for name in config} - {"detector"}


def _has_moved(key: str, value: Any) -> bool:
    """Tell whether an option names a part of detinv by a path of an earlier version."""
    return key.rpartition(".")[2] == "_target_" and isinstance(value, str) and moved_to(value) is not None


def _check_same(folder: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    for values in (before, now):
        if values.get(_PRECISION) is not None:
            values[_PRECISION] = canonical_precision(values[_PRECISION])
    for key in sorted({*before, *now}):
        irrelevant = any(key == name or key.startswith(f"{name}.") for name in _IRRELEVANT)
        if before.get(key) != now.get(key) and not irrelevant:
            raise OutputError(
                f"out_dir {folder} belongs to another run: {key} was {before.get(key)!r}, is {now.get(key)!r}; choose "
                "another out_dir"
            )


def _read(path: Path) -> DictConfig:
    try:
        config = OmegaConf.load(path)
    except (OSError, UnicodeDecodeError, YAMLError, OmegaConfBaseException) as error:
        reason = str(error).splitlines()[0]
        raise OutputError(f"{path} cannot be read ({reason}); choose another out_dir") from error
    if not isinstance(config, DictConfig):
        raise OutputError(f"{path} is not a configuration; choose another out_dir")
    return config


def _options(config: DictConfig) -> dict[str, Any]:
    """Return dotted names and values of single options, without the groups that hold them."""
    found = {key: value for key, value in flat_values(config).items() if not isinstance(value, dict)}
    # A run goes on where its files have been moved to; what they hold is compared by who keeps results.
    return {key: as_written(value) if isinstance(value, str) else value for key, value in found.items()}
