"""The command line: `detinv <command> [name=value ...]`. Reads the arguments, then runs one command.

Everything heavy is imported late.
"""

import os
import sys
from collections.abc import Sequence

from detinv import __version__
from detinv.commands.execute import run_command
from detinv.config.commands import COMMANDS, Command
from detinv.config.composition.chosen import chosen_groups
from detinv.config.folders import FILE_ENDINGS
from detinv.config.renamed import current_words
from detinv.config.words import in_home, opens_list, unclosed
from detinv.errors import ConfigError, DetinvError, ProcessError
from detinv.inputs.printable import one_line, quoted, reason_of, suggestion
from detinv.runtime.interrupts import INTERRUPTED, interruption_asked, signals_interrupt
from detinv.runtime.streams import lasting_streams, open_missing_descriptors

_MISTAKE, _UNWRITTEN = 2, 1
_HELP = {"-h", "--help"}
_MULTIRUN = {"-m", "--multirun"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: of the command line, without the program's name; those of the process by default.

    Returns:
        The exit status: 0, or what the command returns; 2 after a mistake in the input, reported in one line on stderr;
        130 when interrupted. 1 where all would be well, but standard output could not be written.
    """
    program = arguments is None
    if program:
        open_missing_descriptors()
        # Pictures go to files: neither a display nor the notebook that gave the command has to be there.
        os.environ["MPLBACKEND"] = "agg"
    with signals_interrupt(starting=program), lasting_streams() as output:
        status = _status(list(sys.argv[1:] if arguments is None else arguments))
        if output is None:
            return status
        output.flush()
        if output.problem is not None:
            print(f"detinv: standard output cannot be written: {reason_of(output.problem)}", file=sys.stderr)
            return status or _UNWRITTEN
        return status


def _status(words: list[str]) -> int:
    """Run one command; report mistakes and interruptions."""
    try:
        return _dispatch(words)
    except ProcessError as error:
        if not error.reported:
            print(f"detinv: {one_line(str(error))}", file=sys.stderr)
        return _MISTAKE
    except DetinvError as error:
        if interruption_asked():
            return _interrupted()
        print(f"detinv: {one_line(str(error))}", file=sys.stderr)
        return _MISTAKE
    except KeyboardInterrupt:
        return _interrupted()
    except (Exception, SystemExit) as error:
        # Lightning turns an interruption into an exit of its own, and an import that is interrupted ends in any error.
        if interruption_asked() or isinstance(error.__context__, KeyboardInterrupt):
            return _interrupted()
        raise


def _interrupted() -> int:
    print("detinv: interrupted", file=sys.stderr)
    return INTERRUPTED


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in _HELP:
        print(_overview())
        return 0
    if words[0] == "--version":
        print(f"detinv {__version__}")
        return 0
    for word in words:
        _check_seen(word)
    name, *words = words
    if name not in COMMANDS:
        kind = "option" if name.startswith("-") else "command"
        raise ConfigError(
            f"unknown {kind} {name!r}{suggestion(name, COMMANDS)} (commands: {', '.join(COMMANDS)}; see detinv --help)"
        )
    given = [word for word in words if word not in _HELP | _MULTIRUN]
    for place, word in enumerate(given[:-1], 1):
        if opens_list(word) and "=" not in given[place]:
            raise unclosed(word, given[place:])
    overrides = [_override(COMMANDS[name], word) for word in given]
    if not _HELP.isdisjoint(words):
        from detinv.config.folders import config_dir
        from detinv.config.help import render

        print(render(config_dir(), name, chosen_groups(current_words(name, overrides))))
        return 0
    _check_here()
    if not _MULTIRUN.isdisjoint(words):
        from detinv.sweeps.sweep import sweep

        return sweep(name, overrides)
    for word in overrides:
        if word.startswith(("hydra/launcher=", "hydra.launcher.")):
            raise ConfigError(f"{word} chooses where the jobs of a sweep run; add -m to run one")
    return run_command(name, overrides)


def _check_seen(word: str) -> None:
    """Raise ConfigError for a word with a control character, which would become part of a name that one cannot type."""
    unseen = [one for one in word if ord(one) < 32 or ord(one) == 127]
    if unseen:
        windows = "; the script has the line ends of Windows: convert it" if word.endswith("\r") else "; leave it out"
        raise ConfigError(f"{quoted(word)} holds {quoted(unseen[0])}, which cannot be seen{windows}")


def _check_here() -> None:
    """Raise ConfigError where the working directory has been deleted: libraries fail there, each in its own way."""
    try:
        os.getcwd()
    except OSError as error:
        raise ConfigError(
            f"the working directory cannot be used: {reason_of(error)}; change to a folder that exists"
        ) from error


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
    own_file = command.subject and word.endswith(FILE_ENDINGS) and os.path.isfile(in_home(word))
    if not own_file and ("=" in word or word.startswith("~")):
        return word
    if command.subject:
        return f"{command.subject}={word}"
    raise ConfigError(f"cannot read {word!r}; options are written name=value, see detinv {command.name} --help")
