"""Who a folder belongs to: a run may go on in its own folder, and in no other's."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from detinv.errors import OutputError
from detinv.results.files import write_text

_CONFIG = "config.yaml"
# Where a run is watched and where it lies do not change its results.
_BESIDE = ("out_dir", "logger")


def claim_folder(folder: Path, config: DictConfig) -> bool:
    """Write `config.yaml` into an existing folder, unless it is there and says the same.

    Returns:
        Whether the folder belongs to this run already.

    Raises:
        OutputError: when another configuration was run there, naming the first value that differs.
    """
    path = folder / _CONFIG
    if not path.is_file():
        write_text(path, OmegaConf.to_yaml(config))
        return False
    before, now = _flat(OmegaConf.to_container(OmegaConf.load(path))), _flat(OmegaConf.to_container(config))
    for key in sorted({*before, *now}):
        if before.get(key) != now.get(key) and key.split(".")[0] not in _BESIDE:
            raise OutputError(
                f"out_dir {folder} belongs to another run: {key} was {before.get(key)!r}, is {now.get(key)!r}; choose "
                "another out_dir"
            )
    return True


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(values, dict):
        return {prefix.removesuffix("."): values}
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.")
    return flat
