"""A command's configuration, composed by Hydra of configs/ and of the command line; mistakes are one line.

Hydra neither changes the working directory nor sets up logging here. Everything heavy is imported late.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detinv.config.commands import COMMANDS
from detinv.config.folders import FILE_ENDINGS, choices, config_dir, package_of
from detinv.config.kinds import check_kinds, check_numbers, check_read, flat_values
from detinv.config.out_dir import dated_folder
from detinv.config.renamed import current_words
from detinv.config.texts import as_typed
from detinv.config.words import (
    bracketed,
    lists_for_sweep,
    names_in,
    several_values,
    split_words,
    unquoted,
    unreadable,
)
from detinv.errors import ConfigError
from detinv.inputs.printable import suggestion

if TYPE_CHECKING:
    from omegaconf import DictConfig

_EXPERIMENT = "experiment"
_PRESET = "preset"
_DETECTOR = "detector."


def compose_config(
    command: str, overrides: Sequence[str] = (), name_out_dir: Callable[[str], Path] = dated_folder
) -> "DictConfig":
    """Compose the configuration of a command, complete and checked, `out_dir` included.

    Args:
        command: name of the primary file.
        overrides: as on the command line.
        name_out_dir: names the folder for the results of a command when no `out_dir` is given; called when everything
            else has been checked.

    Raises:
        ConfigError: for an unknown group, choice or value, suggesting the nearest; for a value of the wrong kind; for a
            value that has no default and was not given.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from detinv.config.instantiate import mistake_within
    from detinv.config.trust import check_decisions, check_resolved

    overrides = [_registered(command, word) for word in current_words(command, overrides)]
    choosing, chosen, base = _chosen_base(command, overrides)
    check_decisions(OmegaConf.to_container(base), chosen.get(_EXPERIMENT, "configuration"))
    known = flat_values(base)
    own = [_left_out(word, known) for word in overrides if word not in choosing]
    # A composition takes a fifth of a second, and without further words it would be the same one.
    config = _compose(command, [*choosing, *as_typed(command, own, known)], chosen) if own else base.copy()
    # Lists of detectors, and whether real ones are verified, are options, not choices.
    if suited := _suited_preset(command, config, chosen):
        return compose_config(command, [*overrides, f"{_PRESET}={suited}"], name_out_dir)
    try:
        defaults = flat_values(_resolved(base))
        options = COMMANDS[command]
        check_kinds(defaults, config, options.constructor, options.optional)
        check_numbers(flat_values(config))
        check_read(command, defaults, flat_values(config))
        _check_complete(config, command, chosen)
        if config.out_dir is None:
            config.out_dir = str(name_out_dir(command))
        OmegaConf.resolve(config)
        # Once more: only now are interpolated values known.
        check_kinds(defaults, config, options.constructor, options.optional)
    except (OmegaConfBaseException, RecursionError) as error:
        raise mistake_within(error) from error
    check_resolved(OmegaConf.to_container(config))
    return config


def _left_out(override: str, known: Mapping[str, Any]) -> str:
    """Return an override as one that adds an option, where the file of a choice leaves an option of its target out."""
    from detinv.config.annotations import annotation_of_option

    key, equals, _ = override.partition("=")
    if not equals or key in known or key[:1] in "+~" or annotation_of_option(known, key) is None:
        return override
    return f"+{override}"


def composed_values(command: str, choosing: Sequence[str]) -> dict[str, Any]:
    """Return the flat values of a command when only choices of groups are given; see `compose_config`."""
    overrides = [_registered(command, word) for word in current_words(command, choosing)]
    return flat_values(_chosen_base(command, overrides)[2])


def _chosen_base(command: str, overrides: Sequence[str]) -> tuple[list[str], dict[str, str], "DictConfig"]:
    """Return the overrides that choose from groups, what they choose, and the configuration of these alone.

    The preset is among them where it is the detector that decides.
    """
    chosen = chosen_groups(overrides)
    for group, choice in chosen.items():
        _check_choice(command, group, choice)
    _store_experiment(command, chosen)
    choosing = [word for word in overrides if word.lstrip("+").split("=", 1)[0] in chosen]
    base = _compose(command, choosing, chosen)
    if suited := _suited_preset(command, base, chosen):
        choosing.append(f"{_PRESET}={suited}")
        chosen[_PRESET] = suited
        base = _compose(command, choosing, chosen)
    return choosing, chosen, base


def _suited_preset(command: str, config: "DictConfig", chosen: Mapping[str, str]) -> str | None:
    """Return the preset for the detectors of `config`, where none is chosen and the default does not suit them."""
    if _PRESET not in config or _chooses(_PRESET, chosen):
        return None
    from detinv.config.suited import DEFAULT, suited_preset

    suited = suited_preset(command, config)
    return None if suited == DEFAULT else suited


def _chooses(group: str, chosen: Mapping[str, str]) -> bool:
    """Tell whether the command line or the experiment chooses from a group, instead of leaving its default."""
    name = chosen.get(_EXPERIMENT, "null")
    if group in chosen or name == "null":
        return group in chosen
    from hydra.core.config_store import ConfigStore

    defaults = ConfigStore.instance().load(f"{_EXPERIMENT}/{name}.yaml").node.get("defaults") or []
    return any(str(key).split("/")[-1] == group for entry in defaults if isinstance(entry, Mapping) for key in entry)


def chosen_groups(overrides: Sequence[str]) -> dict[str, str]:
    """Find the overrides that choose from a configuration group."""
    pairs = (override.lstrip("+").split("=", 1) for override in overrides if "=" in override)
    return {key: value for key, value in pairs if is_group(key)}


def is_group(key: str) -> bool:
    """Tell whether an option chooses from a configuration group."""
    return key == _EXPERIMENT or bool(choices(config_dir(), key))


def _registered(command: str, override: str) -> str:
    """Register with Hydra what `override` chooses from elsewhere, and choose it by the name it has there."""
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


def _stored(command: str, group: str, path: str) -> str:
    """Register a user's own file as a choice of `group`, under a name that no file of detinv has."""
    from detinv.config.own_files import choice_of, read_own_file

    node, name = read_own_file(Path(path)), choice_of(path)
    if group == _EXPERIMENT:
        _check_command(command, path, _EXPERIMENT in node)
        _check_experiment(command, path, node)
    _store(group, name, node)
    return name


def _check_experiment(command: str, path: str, node: Mapping[str, Any]) -> None:
    """Raise ConfigError for a value of an experiment that nothing reads, such as a mistyped option."""
    from detinv.config.help import groups, options

    known = {option.key.partition(".")[0] for option in options(config_dir(), command)}
    known |= {group.name for group in groups(config_dir(), command, {_EXPERIMENT: path})} | {_EXPERIMENT, "defaults"}
    for key in node:
        # A value of one's own may be there for others to refer to.
        if key not in known and f"${{{key}" not in str(node):
            raise ConfigError(f"{path}: detinv {command} has no option {key!r}{suggestion(key, known)}")


def _store(group: str, name: str, node: Any) -> None:
    from hydra.core.config_store import ConfigStore

    package = "_global_" if group == _EXPERIMENT else package_of(config_dir(), group)
    ConfigStore.instance().store(name=name, node=node, group=group, package=package)


def _is_stored(group: str, name: str) -> bool:
    """Tell whether a choice is a user's own file, which has been registered."""
    from hydra.core.config_store import ConfigStore

    return name.startswith("_") and f"{name}.yaml" in ConfigStore.instance().repo.get(group, {})


def _check_choice(command: str, group: str, choice: str) -> None:
    if group == _EXPERIMENT:
        return
    if choice == "null":
        raise ConfigError(f"{group}=null: detinv {command} needs one of its choices; see detinv {command} --help")
    known = choices(config_dir(), group)
    for name in names_in(choice):
        # Hydra would take anything else for a path and read a file outside its folder.
        if name not in known and not _is_stored(group, name):
            raise ConfigError(_unknown_choice(group, name))


def _check_command(command: str, name: str, for_run: bool) -> None:
    if for_run and command != "run":
        raise ConfigError(f"{name} is an experiment of its own: detinv run {name}")
    if command == "run" and not for_run:
        raise ConfigError(f"{name} only sets options of an inversion: detinv invert experiment={name}")


def _store_experiment(command: str, chosen: Mapping[str, str]) -> None:
    """Register the chosen experiment with Hydra, as a choice of the group `experiment`."""
    name = chosen.get(_EXPERIMENT, "null")
    if name == "null":
        return
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    from detinv.config.folders import experiment_dir
    from detinv.config.help import experiments
    from detinv.config.own_options import foreign_groups

    if _is_stored(_EXPERIMENT, name):
        node: Any = ConfigStore.instance().load(f"{_EXPERIMENT}/{name}.yaml").node
    else:
        known = {experiment.name: experiment for experiment in experiments()}
        if name not in known:
            fitting = [one.name for one in known.values() if one.for_run == (command == "run")]
            raise ConfigError(
                f"unknown experiment {name!r}{suggestion(name, fitting)} (there are: {', '.join(fitting) or 'none'})"
            )
        _check_command(command, name, known[name].for_run)
        node = OmegaConf.load(experiment_dir() / f"{name}.yaml")
    content: Any = OmegaConf.to_container(node)
    foreign = foreign_groups(config_dir(), command, content, chosen)
    _store(_EXPERIMENT, name, {key: value for key, value in content.items() if key not in foreign})


def _compose(command: str, overrides: Sequence[str], chosen: Mapping[str, str]) -> "DictConfig":
    from hydra import compose
    from hydra.errors import ConfigCompositionException, MissingConfigException, OverrideParseException
    from omegaconf.errors import OmegaConfBaseException

    from detinv.config.hydra_context import detinv_hydra

    try:
        with detinv_hydra():
            return compose(command, list(overrides))
    except OverrideParseException as error:
        raise unreadable(str(error.override), _first_line(error)) from error
    except MissingConfigException as error:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        raise ConfigError(_unknown_choice(group, choice)) from error
    except (ConfigCompositionException, OmegaConfBaseException) as error:
        raise ConfigError(_composition_problem(command, chosen, error)) from error


def _unknown_choice(group: str, choice: str) -> str:
    known = choices(config_dir(), group)
    return f"unknown {group or 'command'} {choice!r}{suggestion(choice, known)} (there are: {', '.join(known)})"


def _composition_problem(command: str, chosen: Mapping[str, str], error: Exception) -> str:
    from detinv.config.detectors import JOINT
    from detinv.config.help import groups, options

    text = str(error) or str(error.__cause__)
    _, quote, rest = text.partition("Could not override '")
    if not quote:
        return f"{_first_line(error)}; see detinv {command} --help"
    key = rest.split("'", 1)[0]
    if key.startswith(_DETECTOR) and chosen.get("detector") == JOINT:
        option = key.removeprefix(_DETECTOR)
        return f"several detectors have options of their own: write detector.members.NAME.{option}=... for each"
    folder = config_dir()
    known = [group.name for group in groups(folder, command)]
    known += [option.key for option in options(folder, command, chosen)]
    return f"detinv {command} has no option {key!r}{suggestion(key, known)} (see detinv {command} --help)"


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or str(error.__cause__).strip()
    return text.splitlines()[0].rstrip(".:") if text else type(error).__name__


def _resolved(base: "DictConfig") -> "DictConfig":
    """Copy the defaults with interpolations resolved, so that each has a kind."""
    from omegaconf import OmegaConf

    resolved = base.copy()
    OmegaConf.resolve(resolved)
    return resolved


def _check_complete(config: "DictConfig", command: str, chosen: Mapping[str, str]) -> None:
    from omegaconf import OmegaConf

    missing = sorted(str(key) for key in OmegaConf.missing_keys(config))
    if not missing:
        return
    from detinv.config.help import options

    comments = {option.key: option.comment for option in options(config_dir(), command, chosen)}
    hints = [f"{key}=..." + (f" ({comments[key]})" if comments.get(key) else "") for key in missing]
    raise ConfigError(f"detinv {command} needs {' and '.join(hints)}")
