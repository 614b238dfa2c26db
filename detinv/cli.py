"""The command line: `detinv <command> [name=value ...]`. Reads the words, then runs one command with what they ask for.

Everything heavy is imported late.
"""

import signal
import sys
import threading
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from detinv import __version__
from detinv.commands import COMMANDS, Command
from detinv.composition import chosen_groups, compose_config
from detinv.errors import ConfigError, DetinvError
from detinv.layouts.labels import suggestion
from detinv.printable import one_line

if TYPE_CHECKING:
    from omegaconf import DictConfig

_MISTAKE, _INTERRUPTED = 2, 130
_HELP = {"-h", "--help"}
_MULTIRUN = {"-m", "--multirun"}
_TRUST = "trust_config"


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

        print(render(config_dir(), name, chosen_groups(overrides)))
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
