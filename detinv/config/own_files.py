"""Choices that are users' own files: `GROUP=PATH/mine.yaml`, for every group of the command line."""

import os
import re
import sys
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detinv.config.renamed import check_names
from detinv.config.trust import TARGET, check_decisions, check_targets, is_trusting
from detinv.errors import ConfigError, DetinvError
from detinv.inputs.path_modules import module_name
from detinv.inputs.plain_yaml import YAML_ERRORS, check_plain_yaml, yaml_problem

# Entries that name code.
_CODE = (TARGET, "adapter")


def read_own_file(
    path: Path, problem: type[DetinvError] = ConfigError, expected: str = "expected named values"
) -> dict[str, Any]:
    """Read the values of a user's own file, as they are written.

    Where configurations are trusted, the file's folder is then one of those that modules are imported from, and a
    `_target_` that lies in it is named by its path; see `detinv.inputs.path_modules`.

    Args:
        path: of a YAML file.
        problem: raised for a file that is not there, cannot be read or holds something else.
        expected: what to say in the last case.

    Raises:
        ConfigError: for a file that uses names of earlier versions, or that would run code or trust weights where
            configurations are not trusted.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    if not os.path.isfile(path):
        raise problem(f"{path}: no such file; give the path of a YAML file")
    try:
        check_plain_yaml(path.read_text(encoding="utf-8-sig"))
        node = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, OmegaConfBaseException, *YAML_ERRORS) as error:
        raise problem(f"{path}: cannot be read as YAML ({yaml_problem(error)})") from error
    if not isinstance(node, dict):
        raise problem(f"{path}: {expected}")
    check_names(_dotted(node), str(path))
    if is_trusting():
        folder = path.resolve().parent
        _import_from(folder)
        node = _by_path(node, folder)
    else:
        check_targets(node, str(path))
        check_decisions(node, str(path))
    return {str(key): value for key, value in node.items()}


def choice_of(path: str) -> str:
    """Return the name that stands for a user's own file among the choices of its group, which no file of detinv has.

    Files of one name in different folders are two, and the name needs no quotes.
    """
    stem = re.sub(r"\W", "_", Path(path).stem, flags=re.ASCII)
    return f"_{stem}_{zlib.crc32(os.path.abspath(path).encode(errors='surrogateescape')):08x}"


def _dotted(node: Mapping[Any, Any], prefix: str = "") -> list[str]:
    keys = []
    for key, value in node.items():
        keys.append(f"{prefix}{key}")
        if isinstance(value, Mapping):
            keys += _dotted(value, f"{prefix}{key}.")
    return keys


def _by_path(node: Any, folder: Path) -> Any:
    """Return the values with each `_target_` that lies beside the file named by its path.

    Two folders may have a file of the same name, and a stored configuration must find its code again.
    """
    if isinstance(node, Mapping):
        return {
            key: module_name(folder, value) if key in _CODE and isinstance(value, str) else _by_path(value, folder)
            for key, value in node.items()
        }
    return [_by_path(value, folder) for value in node] if isinstance(node, list) else node


def _import_from(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
