"""The command line: `detinv <command> [name=value ...]`. Reads the arguments, then runs one command.

Everything heavy is imported late.
"""

import signal
import sys
import threading
from collections.abc import Sequence

from detinv import __version__
from detinv.commands.execute import run_command
from detinv.config.commands import COMMANDS, Command
from detinv.config.composition import chosen_groups
from detinv.config.renamed import current_words
from detinv.errors import ConfigError, DetinvError, ProcessError
from detinv.inputs.printable import one_line, suggestion

_MISTAKE, _INTERRUPTED = 2, 130
_HELP = {"-h", "--help"}
_MULTIRUN = {"-m", "--multirun"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: of the command line, without the program's name; those of the process by default.

    Returns:
        The exit status: 0, or what the command returns; 2 after a mistake in the input, reported in one line on stderr;
        130 when interrupted.
    """
    _interrupt_on_termination()
    try:
        return _dispatch(list(sys.argv[1:] if arguments is None else arguments))
    except ProcessError as error:
        if not error.reported:
            print(f"detinv: {one_line(str(error))}", file=sys.stderr)
        return _MISTAKE
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
    """Let SIGTERM end a command as Ctrl-C does, with what is finished."""

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
        from detinv.config.folders import config_dir
        from detinv.config.help import render

        print(render(config_dir(), name, chosen_groups(current_words(name, overrides))))
        return 0
    if not _MULTIRUN.isdisjoint(words):
        from detinv.sweeps.sweep import sweep

        return sweep(name, overrides)
    for word in overrides:
        if word.startswith(("hydra/launcher=", "hydra.launcher.")):
            raise ConfigError(f"{word} chooses where the jobs of a sweep run; add -m to run one")
    return run_command(name, overrides)


def _overview() -> str:
    lines = ["detinv: pixels that a frozen object detector reads as the layout you asked for", ""]
    lines += ["usage: detinv <command> [group=choice ...] [name=value ...]"]
    lines += ["       detinv <command> -m name=a,b,c ...   a sweep: one run for each combination", "", "commands:"]
    lines += [f"  {command.name:<8} {command.summary}" for command in COMMANDS.values()]
    lines += ["", "detinv <command> --help lists groups, choices and values; detinv --version prints the version"]
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
