"""What the command line chooses from groups: checked, and registered with Hydra where it lies elsewhere.

Elsewhere are users' own files, detectors of entry points, several detectors at once, and the experiments.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detinv.config.folders import FILE_ENDINGS, choices, config_dir, package_of
from detinv.config.words import bracketed, lists_for_sweep, names_in, several_values, split_words, unquoted
from detinv.errors import ConfigError
from detinv.inputs.printable import suggestion

EXPERIMENT = "experiment"
"""The group whose files lie in a folder of their own."""


def chosen_groups(overrides: Sequence[str]) -> dict[str, str]:
    """Find the overrides that choose from a configuration group."""
    pairs = (override.lstrip("+").split("=", 1) for override in overrides if "=" in override)
    return {key: value for key, value in pairs if is_group(key)}


def is_group(key: str) -> bool:
    """Tell whether an option chooses from a configuration group."""
    return key == EXPERIMENT or bool(choices(config_dir(), key))


def registered(command: str, override: str) -> str:
    """Register with Hydra what `override` chooses from elsewhere, and choose it by the name it has there.

    Raises:
        ConfigError: for a value that lists several for a sweep, and for a user's own file that cannot be used.
        DetectorError: for a detector that is not there; see `detector_choice`.
    """
    key, equals, value = override.partition("=")
    group = key.lstrip("+")
    if not equals or not is_group(group):
        return override
    if len(split_words(value)) > 1 and unquoted(value) is None and not os.path.exists(value) or lists_for_sweep(value):
        raise several_values(command, override)
    if group == "detector":
        from detinv.config.detectors import detector_choice

        choice, node = detector_choice(value)
        if node is not None:
            _store(group, choice, node)
        return f"{key}={choice}"
    names = [_stored(command, group, name) if name.endswith(FILE_ENDINGS) else name for name in names_in(value)]
    joined = ",".join(names)
    return f"{key}={joined}" if bracketed(value) is None else f"{key}=[{joined}]"


def chooses(group: str, chosen: Mapping[str, str]) -> bool:
    """Tell whether the command line or the experiment chooses from a group, instead of leaving its default."""
    name = chosen.get(EXPERIMENT, "null")
    if group in chosen or name == "null":
        return group in chosen
    from hydra.core.config_store import ConfigStore

    defaults = ConfigStore.instance().load(f"{EXPERIMENT}/{name}.yaml").node.get("defaults") or []
    return any(str(key).split("/")[-1] == group for entry in defaults if isinstance(entry, Mapping) for key in entry)


def lies_elsewhere(group: str, choice: str) -> bool:
    """Tell whether a choice, or one of a list of them, is no file of detinv: a user's own, or made of several."""
    from hydra.core.config_store import ConfigStore

    if group == EXPERIMENT:
        return _is_stored(group, choice)
    stored = ConfigStore.instance().repo.get(group, {})
    return any(f"{name}.yaml" in stored for name in names_in(choice))


def check_choice(command: str, group: str, choice: str) -> None:
    """Raise ConfigError for a choice that a group does not have; see `store_experiment` for those of experiments."""
    if group == EXPERIMENT:
        return
    if choice == "null" or bracketed(choice) == []:
        raise ConfigError(f"{group}={choice}: detinv {command} needs one of its choices; see detinv {command} --help")
    known = choices(config_dir(), group)
    setters: dict[str, str] = {}
    for name in names_in(choice):
        # Hydra would take anything else for a path and read a file outside its folder.
        if name not in known and not _is_stored(group, name):
            raise ConfigError(unknown_choice(group, name))
        for key in _keys(group, name):
            if setters.setdefault(key, name) != name:
                raise ConfigError(f"{group}={choice}: {name} would replace {setters[key]}; choose one of them")


def unknown_choice(group: str, choice: str) -> str:
    """Say that a group has no such choice, with the nearest and all that it has."""
    known = choices(config_dir(), group)
    return f"unknown {group or 'command'} {choice!r}{suggestion(choice, known)} (there are: {', '.join(known)})"


def store_experiment(command: str, chosen: Mapping[str, str]) -> str:
    """Register the chosen experiment with Hydra, as a choice of the group `experiment`.

    Returns:
        What it says, as a text; empty without an experiment.

    Raises:
        ConfigError: for an experiment that is not there, or that another command runs.
    """
    name = chosen.get(EXPERIMENT, "null")
    if name == "null":
        return ""
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    from detinv.config.folders import experiment_dir
    from detinv.config.help import experiments
    from detinv.config.own_options import foreign_groups

    if _is_stored(EXPERIMENT, name):
        node: Any = ConfigStore.instance().load(f"{EXPERIMENT}/{name}.yaml").node
    else:
        known = {experiment.name: experiment for experiment in experiments()}
        if name not in known:
            names = [one.name for one in known.values() if one.for_run == (command == "run")]
            raise ConfigError(
                f"unknown experiment {name!r}{suggestion(name, names)} (there are: {', '.join(names) or 'none'})"
            )
        _check_command(command, name, known[name].for_run)
        node = OmegaConf.load(experiment_dir() / f"{name}.yaml")
    content: Any = OmegaConf.to_container(node)
    foreign = foreign_groups(config_dir(), command, content, chosen)
    fitting = {key: value for key, value in content.items() if key not in foreign}
    _store(EXPERIMENT, name, fitting)
    return repr(fitting)


def _stored(command: str, group: str, path: str) -> str:
    """Register a user's own file as a choice of `group`, under a name that no file of detinv has."""
    from detinv.config.own_files import choice_of, read_own_file

    node, name = read_own_file(Path(path)), choice_of(path)
    if group == EXPERIMENT:
        _check_command(command, path, EXPERIMENT in node)
        _check_experiment(command, path, node)
    _store(group, name, node)
    return name


def _check_experiment(command: str, path: str, node: Mapping[str, Any]) -> None:
    """Raise ConfigError for a value of an experiment that nothing reads, such as a mistyped option."""
    from detinv.config.help import groups, options

    known = {option.key.partition(".")[0] for option in options(config_dir(), command)}
    known |= {group.name for group in groups(config_dir(), command, {EXPERIMENT: path})} | {EXPERIMENT, "defaults"}
    for key in node:
        # A value of one's own may be there for others to refer to.
        if key not in known and f"${{{key}" not in str(node):
            raise ConfigError(f"{path}: detinv {command} has no option {key!r}{suggestion(key, known)}")


def _check_command(command: str, name: str, for_run: bool) -> None:
    if for_run and command != "run":
        raise ConfigError(f"{name} is an experiment of its own: detinv run {name}")
    if command == "run" and not for_run:
        raise ConfigError(f"{name} only sets options of an inversion: detinv invert experiment={name}")


def _store(group: str, name: str, node: Any) -> None:
    from hydra.core.config_store import ConfigStore

    package = "_global_" if group == EXPERIMENT else package_of(config_dir(), group)
    ConfigStore.instance().store(name=name, node=node, group=group, package=package)


def _keys(group: str, name: str) -> set[str]:
    """Return the names of the values that a choice sets."""
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    stored = _is_stored(group, name)
    node = ConfigStore.instance().load(f"{group}/{name}.yaml").node if stored else None
    content: Any = OmegaConf.load(config_dir() / group / f"{name}.yaml") if node is None else node
    return {str(key) for key in content} - {"defaults"}


def _is_stored(group: str, name: str) -> bool:
    """Tell whether a choice is a user's own file, which has been registered."""
    from hydra.core.config_store import ConfigStore

    return name.startswith("_") and f"{name}.yaml" in ConfigStore.instance().repo.get(group, {})
