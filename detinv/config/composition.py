"""A command's configuration: Hydra composes it of configs/ and of what the command line says; mistakes are one line.

Hydra neither changes the working directory nor sets up logging here. Everything heavy is imported late.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detinv.config.kinds import check_kinds, check_numbers, flat_values
from detinv.config.out_dir import dated_folder
from detinv.config.printable import suggestion
from detinv.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig


def compose_config(
    command: str, overrides: Sequence[str] = (), name_out_dir: Callable[[str], Path] = dated_folder
) -> "DictConfig":
    """Compose the configuration of a command, complete and checked, `out_dir` included.

    Args:
        command: name of the primary file.
        overrides: as the command line has them.
        name_out_dir: gives the folder for results of a command where no `out_dir` is given; called when all else has
            proved to be good.

    Raises:
        ConfigError: for an unknown group, choice or value, suggesting the nearest; for a value of another kind than
            its default; for a value that has none and was not given.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from detinv.config.instantiate import choices, config_dir, mistake_within
    from detinv.config.trust import check_decisions, check_resolved

    folder = config_dir()
    overrides = [_offer_detector(word) for word in overrides]
    chosen = chosen_groups(overrides)
    for group, choice in chosen.items():
        if group != "experiment" and choice == "null":
            raise ConfigError(f"{group}=null: detinv {command} needs one of its choices; see detinv {command} --help")
        # Hydra would take what is none of them for a path, and read a file that is not ours.
        if group != "experiment" and not choice.startswith("_") and choice.strip("'\"") not in choices(folder, group):
            raise ConfigError(_unknown_choice(group, choice))
    base = _compose(command, [word for word in overrides if word.lstrip("+").split("=", 1)[0] in chosen], chosen)
    check_decisions(OmegaConf.to_container(base), chosen.get("experiment", "configuration"))
    config = _compose(command, overrides, chosen)
    try:
        defaults = flat_values(_followed(base))
        check_kinds(defaults, flat_values(config))
        check_numbers(flat_values(config))
        _check_complete(config, command, chosen)
        if config.out_dir is None:
            config.out_dir = str(name_out_dir(command))
        OmegaConf.resolve(config)
        # Once more: what was taken from elsewhere has a kind only now.
        check_kinds(defaults, flat_values(config))
    except (OmegaConfBaseException, RecursionError) as error:
        raise mistake_within(error) from error
    check_resolved(OmegaConf.to_container(config))
    return config


def chosen_groups(overrides: Sequence[str]) -> dict[str, str]:
    """Those overrides that choose from a configuration group."""
    from detinv.config.instantiate import choices, config_dir

    pairs = (override.lstrip("+").split("=", 1) for override in overrides if "=" in override)
    return {key: value for key, value in pairs if key == "experiment" or choices(config_dir(), key)}


def _offer_detector(override: str) -> str:
    """`override`, with detectors from elsewhere made a choice of the group that Hydra knows."""
    key, equals, value = override.partition("=")
    if key != "detector" or not equals:
        return override
    from hydra.core.config_store import ConfigStore

    from detinv.config.detectors import offered

    choice, node = offered(value)
    if node is not None:
        ConfigStore.instance().store(name=choice, node=node, group="detector")
    return f"{key}={choice}"


def _compose(command: str, overrides: Sequence[str], chosen: dict[str, str]) -> "DictConfig":
    from hydra import compose, initialize_config_dir
    from hydra.errors import ConfigCompositionException, MissingConfigException, OverrideParseException
    from omegaconf.errors import OmegaConfBaseException

    from detinv.config.instantiate import config_dir

    try:
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            _store_experiment(command, chosen)
            return compose(command, list(overrides))
    except OverrideParseException as error:
        raise ConfigError(f"cannot read {error.override!r}: {_first_line(error)}; write name=value") from error
    except MissingConfigException as error:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        raise ConfigError(_unknown_choice(group, choice)) from error
    except (ConfigCompositionException, OmegaConfBaseException) as error:
        raise ConfigError(_composition_problem(command, chosen, error)) from error


def _store_experiment(command: str, chosen: dict[str, str]) -> None:
    """Register the chosen experiment with Hydra, as a choice of the group `experiment`."""
    name = chosen.get("experiment", "null")
    if name == "null":
        return
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    from detinv.config.help import experiments
    from detinv.config.instantiate import config_dir, experiment_dir
    from detinv.config.own_options import foreign_groups

    known = {experiment.name: experiment for experiment in experiments()}
    if name not in known:
        fitting = [experiment.name for experiment in known.values() if experiment.for_run == (command == "run")]
        raise ConfigError(
            f"unknown experiment {name!r}{suggestion(name, fitting)} (there are: {', '.join(fitting) or 'none'})"
        )
    if known[name].for_run and command != "run":
        raise ConfigError(f"{name} is an experiment of its own: detinv run {name}")
    if command == "run" and not known[name].for_run:
        raise ConfigError(f"{name} only sets options of an inversion: detinv invert experiment={name}")
    node: Any = OmegaConf.load(experiment_dir() / f"{name}.yaml")
    content: Any = OmegaConf.to_container(node)
    for group in foreign_groups(config_dir(), command, content, chosen):
        del node[group]
    ConfigStore.instance().store(name=name, node=node, group="experiment", package="_global_")


def _unknown_choice(group: str, choice: str) -> str:
    from detinv.config.instantiate import choices, config_dir

    known = choices(config_dir(), group)
    return f"unknown {group or 'command'} {choice!r}{suggestion(choice, known)} (there are: {', '.join(known)})"


def _composition_problem(command: str, chosen: dict[str, str], error: Exception) -> str:
    from detinv.config.help import groups, options
    from detinv.config.instantiate import config_dir

    text = str(error) or str(error.__cause__)
    _, quote, rest = text.partition("Could not override '")
    if not quote:
        return f"{_first_line(error)}; see detinv {command} --help"
    key = rest.split("'", 1)[0]
    folder = config_dir()
    known = [group.name for group in groups(folder, command)]
    known += [option.key for option in options(folder, command, chosen)]
    return f"detinv {command} has no option {key!r}{suggestion(key, known)} (see detinv {command} --help)"


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or str(error.__cause__).strip()
    return text.splitlines()[0].rstrip(".:") if text else type(error).__name__


def _followed(base: "DictConfig") -> "DictConfig":
    """Defaults with what they take from each other in place, so that it has a kind."""
    from omegaconf import OmegaConf

    followed = base.copy()
    OmegaConf.resolve(followed)
    return followed


def _check_complete(config: "DictConfig", command: str, chosen: dict[str, str]) -> None:
    from omegaconf import OmegaConf

    missing = sorted(str(key) for key in OmegaConf.missing_keys(config))
    if not missing:
        return
    from detinv.config.help import options
    from detinv.config.instantiate import config_dir

    comments = {option.key: option.comment for option in options(config_dir(), command, chosen)}
    hints = [f"{key}=..." + (f" ({comments[key]})" if comments.get(key) else "") for key in missing]
    raise ConfigError(f"detinv {command} needs {' and '.join(hints)}")
