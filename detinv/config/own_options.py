"""Options that an experiment sets for a part it chooses, such as `layout.count`, and the choices they apply to."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detinv.config.yaml_files import read_yaml

_OVERRIDE = "override /"


def foreign_groups(folder: Path, command: str, experiment: Mapping[str, Any], chosen: Mapping[str, str]) -> set[str]:
    """Find the groups whose options in an experiment were written for something other than what is chosen.

    `count: 8` of an experiment with layouts of a world means nothing to a layout file: options apply to choices that
    build the same class as the experiment's own choice.

    Args:
        folder: of the configuration files.
        command: name of the primary file.
        experiment: content of the experiment's file.
        chosen: choices on the command line, by group.
    """
    own = _defaults(_read(folder / f"{command}.yaml")) | _defaults(experiment)
    return {
        group
        for group, choice in chosen.items()
        if group != "experiment"
        and group in experiment
        and group in own
        and _target(folder, group, choice) != _target(folder, group, own[group])
    }


def _defaults(content: Mapping[str, Any]) -> dict[str, str]:
    pairs = [pair for entry in content.get("defaults") or [] if isinstance(entry, Mapping) for pair in entry.items()]
    return {str(key).removeprefix(_OVERRIDE): str(choice) for key, choice in pairs}


def _target(folder: Path, group: str, choice: str) -> object:
    """The class that a choice builds; the choice itself where it names none."""
    path = folder / group / f"{choice}.yaml"
    return _read(path).get("_target_", choice) if path.is_file() else choice


def _read(path: Path) -> dict[str, Any]:
    content = read_yaml(path)
    return content if isinstance(content, dict) else {}
