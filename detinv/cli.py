"""The command line: `detinv <command> [name=value ...]`. Composes a configuration, then runs one command with it.

Hydra composes; it neither changes the working directory nor sets up logging. Everything heavy is imported late.
"""

import signal
import sys
import threading
from collections.abc import Sequence
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detinv import __version__
from detinv.commands import COMMANDS, Command
from detinv.errors import ConfigError, DetinvError
from detinv.layouts.labels import suggestion
from detinv.printable import one_line, shown

if TYPE_CHECKING:
    from omegaconf import DictConfig

_MISTAKE, _INTERRUPTED = 2, 130
_KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    list: "a list",
    dict: "named values",
}
_HELP = {"-h", "--help"}
_MULTIRUN = {"-m", "--multirun"}
_TRUST = "trust_config"
# Seeds and counts are to fit into 32 bits, wherever they are handed to.
_LARGEST = 2**32 - 1
# Options of libraries and of detectors of one's own, and numbers that a file gave to its images.
_FREE = ("trainer.", "detector.", "layout.image_ids")
# Options that null switches off, or leaves to a library; all others need a value of their own kind.
_OPTIONAL = (
    "gradient_clip",
    "trainer.",
    "detector.",
    "preset.objective.weights.",
    "preset.objective.positive_cap",
    "protocol.judge",
    "protocol.layers",
    "protocol.objects.classes",
    "protocol.texture.",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: of the command line, without the program's name; those of the process by default.

    Returns:
        The exit status: 0, or what the command says; 2 after a mistake in the input, told in one line on stderr; 130
        when interrupted.
    """
    _interrupt_on_termination()
    try:
        return _dispatch(list(sys.argv[1:] if arguments is None else arguments))
    except DetinvError as error:
        print(f"detinv: {one_line(str(error))}", file=sys.stderr)
        return _MISTAKE
    except KeyboardInterrupt:
        print("detinv: interrupted", file=sys.stderr)
        return _INTERRUPTED
    except SystemExit as stop:
        # Lightning turns an interruption into an exit of its own.
        if not isinstance(stop.__context__, KeyboardInterrupt):
            raise
        print("detinv: interrupted", file=sys.stderr)
        return _INTERRUPTED


def _interrupt_on_termination() -> None:
    """Let a request to terminate end a command as an interruption does, with what is done."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, interrupt)


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in _HELP:
        print(_overview())
        return 0
    if words[0] == "--version":
        print(f"detinv {__version__}")
        return 0
    name, *words = words
    if name not in COMMANDS:
        kind = "option" if name.startswith("-") else "command"
        raise ConfigError(
            f"unknown {kind} {name!r}{suggestion(name, COMMANDS)} (commands: {', '.join(COMMANDS)}; see detinv --help)"
        )
    overrides = [_override(COMMANDS[name], word) for word in words if word not in _HELP | _MULTIRUN]
    if not _HELP.isdisjoint(words):
        from detinv.command_help import render
        from detinv.configuration import config_dir

        print(render(config_dir(), name, _choices(overrides)))
        return 0
    if not _MULTIRUN.isdisjoint(words):
        from detinv.sweeps.sweep import sweep

        return sweep(name, overrides)
    for word in overrides:
        if word.startswith(("hydra/launcher=", "hydra.launcher.")):
            raise ConfigError(f"{word} says where the members of a sweep run; add -m to run one")
    return run_command(name, overrides)


def run_command(name: str, overrides: Sequence[str]) -> int:
    """Run one command as the command line does, which trusts configurations only if an override says so.

    Returns:
        The exit status: 0, or what the command says.

    Raises:
        DetinvError: for a mistake in the input.
    """
    from detinv.configuration import instantiate
    from detinv.trust import trusting

    with trusting(_says_trust(overrides)):
        config = compose_config(name, overrides)
        _forget_trust(config)
        return import_module(f"detinv.commands.{name}").run(config, instantiate) or 0


def check_command(name: str, overrides: Sequence[str]) -> "DictConfig":
    """The configuration that `run_command` would run, composed and checked as it would be."""
    from detinv.trust import trusting

    with trusting(_says_trust(overrides)):
        return compose_config(name, overrides)


def _overview() -> str:
    lines = ["detinv: pixels that a frozen object detector reads as the layout you asked for", ""]
    lines += ["usage: detinv <command> [group=choice ...] [name=value ...]"]
    lines += ["       detinv <command> -m name=a,b,c ...   a sweep: one run for each combination", "", "commands:"]
    lines += [f"  {command.name:<8} {command.summary}" for command in COMMANDS.values()]
    lines += ["", "detinv <command> --help lists groups, choices and values; detinv --version tells the version"]
    return "\n".join(lines)


def _override(command: Command, word: str) -> str:
    """`word` as an override for Hydra: a bare word sets the command's subject, a flag stands for an override."""
    if word in command.flags:
        return command.flags[word]
    if word.startswith("-"):
        key = word.lstrip("-")
        raise ConfigError(
            f"unknown option {word!r}; options are written name=value" + (f": {key}" if "=" in key else "")
        )
    if "=" in word or word.startswith("~"):
        return word
    if command.subject:
        return f"{command.subject}={word}"
    raise ConfigError(f"cannot read {word!r}; options are written name=value, see detinv {command.name} --help")


def _choices(overrides: Sequence[str]) -> dict[str, str]:
    """Those overrides that choose from a configuration group."""
    from detinv.configuration import choices, config_dir

    pairs = (override.lstrip("+").split("=", 1) for override in overrides if "=" in override)
    return {key: value for key, value in pairs if key == "experiment" or choices(config_dir(), key)}


def compose_config(command: str, overrides: Sequence[str] = ()) -> "DictConfig":
    """The configuration of a command, complete and checked, `out_dir` included.

    Raises:
        ConfigError: for an unknown group, choice or value, suggesting the nearest; for a value of another kind than
            its default; for a value that has none and was not given.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from detinv.configuration import choices, config_dir, mistake_within
    from detinv.trust import check_decisions, check_resolved

    folder = config_dir()
    overrides = [_offer_detector(word) for word in overrides]
    chosen = _choices(overrides)
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
        defaults = _flat(_followed(base))
        _check_kinds(defaults, _flat(config))
        _check_numbers(_flat(config))
        _check_complete(config, command, chosen)
        if config.out_dir is None:
            config.out_dir = str(dated_folder(command))
        OmegaConf.resolve(config)
        # Once more: what was taken from elsewhere has a kind only now.
        _check_kinds(defaults, _flat(config))
    except (OmegaConfBaseException, RecursionError) as error:
        raise mistake_within(error) from error
    check_resolved(OmegaConf.to_container(config))
    return config


def _says_trust(overrides: Sequence[str]) -> bool:
    """Whether the command line itself says that configurations may run code; the last word counts."""
    pairs = (override.lstrip("+").split("=", 1) for override in overrides if "=" in override)
    said = [value.strip().lower() for key, value in pairs if key == _TRUST]
    return said[-1:] == ["true"]


def _forget_trust(config: "DictConfig") -> None:
    """Trust is given for one call: it is no part of what a run is, and of what is kept of it."""
    from omegaconf import open_dict

    with open_dict(config):
        config.pop(_TRUST, None)


def _offer_detector(override: str) -> str:
    """`override`, with detectors from elsewhere made a choice of the group that Hydra knows."""
    key, equals, value = override.partition("=")
    if key != "detector" or not equals:
        return override
    from hydra.core.config_store import ConfigStore

    from detinv.detectors.registry import offered

    choice, node = offered(value)
    if node is not None:
        ConfigStore.instance().store(name=choice, node=node, group="detector")
    return f"{key}={choice}"


def _compose(command: str, overrides: Sequence[str], chosen: dict[str, str]) -> "DictConfig":
    from hydra import compose, initialize_config_dir
    from hydra.errors import ConfigCompositionException, MissingConfigException, OverrideParseException
    from omegaconf.errors import OmegaConfBaseException

    from detinv.configuration import config_dir

    try:
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            _store_recipe(command, chosen)
            return compose(command, list(overrides))
    except OverrideParseException as error:
        raise ConfigError(f"cannot read {error.override!r}: {_first_line(error)}; write name=value") from error
    except MissingConfigException as error:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        raise ConfigError(_unknown_choice(group, choice)) from error
    except (ConfigCompositionException, OmegaConfBaseException) as error:
        raise ConfigError(_composition_problem(command, chosen, error)) from error


def _store_recipe(command: str, chosen: dict[str, str]) -> None:
    """Offer the recipe asked for as the choice of a group `experiment`, wherever the recipes lie."""
    name = chosen.get("experiment", "null")
    if name == "null":
        return
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    from detinv.command_help import recipes
    from detinv.configuration import recipe_dir

    known = {recipe.name: recipe for recipe in recipes()}
    if name not in known:
        fitting = [recipe.name for recipe in known.values() if recipe.has_protocol == (command == "run")]
        raise ConfigError(
            f"unknown experiment {name!r}{suggestion(name, fitting)} (there are: {', '.join(fitting) or 'none'})"
        )
    if known[name].has_protocol and command != "run":
        raise ConfigError(f"{name} is an experiment with a protocol of its own: detinv run {name}")
    if command == "run" and not known[name].has_protocol:
        raise ConfigError(f"{name} is a recipe without a protocol: detinv invert experiment={name}")
    node = OmegaConf.load(recipe_dir() / f"{name}.yaml")
    ConfigStore.instance().store(name=name, node=node, group="experiment", package="_global_")


def _unknown_choice(group: str, choice: str) -> str:
    from detinv.configuration import choices, config_dir

    known = choices(config_dir(), group)
    return f"unknown {group or 'command'} {choice!r}{suggestion(choice, known)} (there are: {', '.join(known)})"


def _composition_problem(command: str, chosen: dict[str, str], error: Exception) -> str:
    from detinv.command_help import groups, options
    from detinv.configuration import config_dir

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


def _flat(node: "DictConfig") -> dict[str, Any]:
    """Dotted keys and values as they are written, groups of values included."""
    from omegaconf import OmegaConf

    flat: dict[str, Any] = {}

    def add(values: dict[Any, Any], prefix: str) -> None:
        for key, value in values.items():
            flat[f"{prefix}{key!s}"] = value
            if isinstance(value, dict):
                add(value, f"{prefix}{key!s}.")

    values = OmegaConf.to_container(node, resolve=False)
    assert isinstance(values, dict)
    add(values, "")
    return flat


def _check_kinds(defaults: dict[str, Any], values: dict[str, Any]) -> None:
    for key in defaults:
        if "." not in key and key not in values:
            raise ConfigError(f"~{key}: this option cannot be removed")
    for key, value in values.items():
        default = defaults.get(key)
        # A number at the top is a count or a seed; further down, YAML's 30 may be short for 30.0.
        wanted = float if isinstance(default, int) and not isinstance(default, bool) and "." in key else type(default)
        optional = value is None and key.startswith(_OPTIONAL)
        if wanted in _KINDS and not optional and not _fits(value, default, wanted):
            given = "null" if value is None else shown(value)
            example = f"{key}.{next(iter(default))}=..." if isinstance(default, dict) else f"its default {default}"
            hint = "" if default == "???" else f", such as {example}"
            raise ConfigError(f"{key}={given}: expected {_KINDS[wanted]}{hint}")


def _check_numbers(values: dict[str, Any]) -> None:
    """Raise ConfigError for a number that no option can mean; what else is wrong with one, its owner says."""
    for key, value in values.items():
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, bool) or not isinstance(number, int | float):
                continue
            if not key.startswith(_FREE) and not 0 <= number <= _LARGEST:
                end = "0 or more" if number < 0 else f"a number of at most {_LARGEST}"
                raise ConfigError(f"{key}={shown(number)}: choose {end}")


def _fits(value: Any, default: Any, wanted: type) -> bool:
    if value is None:
        return False
    if any(isinstance(text, str) and ("${" in text or text == "???") for text in (value, default)):
        # What is taken from elsewhere, or still to be given, says nothing about its kind.
        return True
    if wanted is str:
        return not isinstance(value, list | dict)
    if wanted is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is wanted


def _check_complete(config: "DictConfig", command: str, chosen: dict[str, str]) -> None:
    from omegaconf import OmegaConf

    missing = sorted(str(key) for key in OmegaConf.missing_keys(config))
    if not missing:
        return
    from detinv.command_help import options
    from detinv.configuration import config_dir

    comments = {option.key: option.comment for option in options(config_dir(), command, chosen)}
    hints = [f"{key}=..." + (f" ({comments[key]})" if comments.get(key) else "") for key in missing]
    raise ConfigError(f"detinv {command} needs {' and '.join(hints)}")


def dated_folder(command: str) -> Path:
    """Where results go when no `out_dir` is given: a folder that is not there yet."""
    stem = f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{command}"
    folder, number = Path("outputs") / stem, 1
    while folder.exists():
        number += 1
        folder = Path("outputs") / f"{stem}-{number}"
    return folder
