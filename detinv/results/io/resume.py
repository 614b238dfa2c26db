"""Who a folder belongs to: a run may go on in its own folder, and in no other's."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from detinv.errors import OutputError
from detinv.results.io.files import write_text

_CONFIG = "config.yaml"
# Where a run lies, how it is watched and how the work is shared out do not change its results.
_BESIDE = (
    "out_dir",
    "logger",
    "batch_size",
    "checkpoint_every_n_seconds",
    "log_images_every_n_steps",
    "trust_config",
    "trainer.devices",
    "trainer.num_nodes",
)
# Folders of dashboards: a run that stopped at a mistake may have left them without any result.
_DASHBOARDS = ("wandb", "tensorboard")


def claim_folder(folder: Path, config: DictConfig) -> bool:
    """Write `config.yaml` into an existing folder, unless it is there and says the same.

    Returns:
        Whether the folder belongs to this run already.

    Raises:
        OutputError: when another configuration was run there and left something, naming the first value that differs;
            when its file cannot be read.
    """
    path = folder / _CONFIG
    left = {entry.name for entry in folder.iterdir()} - {_CONFIG, *_DASHBOARDS}
    if path.is_file() and left:
        _check_same(folder, _flat(_read(path)), _flat(OmegaConf.to_container(config)))
        return True
    write_text(path, OmegaConf.to_yaml(config))
    return False


def _check_same(folder: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    for key in sorted({*before, *now}):
        beside = any(key == name or key.startswith(f"{name}.") for name in _BESIDE)
        if before.get(key) != now.get(key) and not beside:
            raise OutputError(
                f"out_dir {folder} belongs to another run: {key} was {before.get(key)!r}, is {now.get(key)!r}; choose "
                "another out_dir"
            )


def _read(path: Path) -> Any:
    try:
        return OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, UnicodeDecodeError, YAMLError, OmegaConfBaseException) as error:
        reason = str(error).splitlines()[0]
        raise OutputError(f"{path} cannot be read ({reason}); choose another out_dir") from error


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(values, dict):
        return {prefix.removesuffix("."): values}
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.")
    return flat
