"""`detinv COMMAND -m ...`: check every member of a sweep, run those that are not done, and tell how each one ended."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from detinv.commands.execute import check_command
from detinv.config.out_dir import claim_dated_folder
from detinv.errors import ConfigError, DetinvError
from detinv.sweeps.folder import Member, SweepFolder
from detinv.sweeps.grammar import Combination, combinations, key_of, quoted
from detinv.sweeps.launcher import AbstractLauncher, choose_launcher, is_launcher_option
from detinv.sweeps.member import Task

_FAILED = 1
# In this order they are listed: what needs a person comes last.
_STYLES = {"ok": "green", "missing": "yellow", "failed": "bold red"}


def sweep(command: str, overrides: Sequence[str]) -> int:
    """Run a command with every combination of the values that its overrides list.

    Members that ended well before are not run again.

    Args:
        command: a name in `COMMANDS`.
        overrides: of the members, with Hydra's lists of values, and of `hydra/launcher`.

    Returns:
        0 if all members ended well, 1 if one did not.

    Raises:
        DetinvError: for a mistake in the input of any member, before one is run.
        KeyboardInterrupt: after the table of members, when interrupted.
    """
    launcher = choose_launcher([word for word in overrides if is_launcher_option(word)])
    asked = combinations(command, [word for word in overrides if not is_launcher_option(word)])
    configs = [_checked(command, combination) for combination in asked]
    folder = SweepFolder(_path(command, asked, configs), command)
    names = folder.enlist([_without_out_dir(combination) for combination in asked])
    groups = dict(zip(names, configs, strict=True))
    todo = [name for name in names if folder.member(name).status != "ok"]
    tasks = {name: folder.task(name, _own_words(folder, name, groups[name])) for name in todo}
    console = Console()
    interrupted = False
    folder.begin(todo)
    if tasks:
        try:
            _launch(launcher, tasks, folder, console)
        except KeyboardInterrupt:
            interrupted = True
    found = [folder.member(name) for name in names]
    _show(console, folder, found, len(names) - len(todo))
    if interrupted:
        raise KeyboardInterrupt
    return _FAILED if any(member.status != "ok" for member in found) else 0


def _checked(command: str, combination: Combination) -> DictConfig:
    try:
        return check_command(command, combination.overrides)
    except DetinvError as error:
        member = " ".join(combination.swept)
        raise ConfigError(f"{member}: {error}" if member and member not in str(error) else str(error)) from error


def _path(command: str, asked: Sequence[Combination], configs: Sequence[DictConfig]) -> Path:
    if not any(key_of(word) == "out_dir" for word in asked[0].overrides):
        return claim_dated_folder(f"{command}_sweep")
    given = sorted({str(config.out_dir) for config in configs})
    if len(given) > 1:
        raise ConfigError(
            f"out_dir={given[0]} for one member, {given[1]} for another: give the one folder for all, in which each "
            "member gets its own"
        )
    return Path(given[0])


def _without_out_dir(combination: Combination) -> Combination:
    kept = [tuple(w for w in words if key_of(w) != "out_dir") for words in (combination.overrides, combination.swept)]
    return Combination(*kept)


def _own_words(folder: SweepFolder, name: str, config: DictConfig) -> list[str]:
    """What one would type to run this member alone: its own folder, and its sweep as its group in the dashboard."""
    words = [*folder.member(name).overrides, quoted("out_dir", str(folder.path / name))]
    logger = config.get("logger") or {}
    if "group" in logger and logger["group"] is None:
        words.append(quoted("logger.group", folder.path.resolve().name))
    return words


def _launch(launcher: AbstractLauncher, tasks: dict[str, Task], folder: SweepFolder, console: Console) -> None:
    def say(text: str) -> None:
        console.print(text, soft_wrap=True, highlight=False)

    say(f"{len(tasks)} to run in {escape(str(folder.path))}")
    # Closed whatever happens: nothing is left running.
    with closing(launcher.launch(tasks, folder.path)) as outcomes:
        for count, (name, outcome) in enumerate(outcomes, 1):
            folder.note(name, outcome)
            took = "" if outcome.seconds is None else f"  {outcome.seconds:.1f} s"
            error = f"  {escape(outcome.error)}" if outcome.error else ""
            style = _STYLES[outcome.status]
            say(f"[{style}]{outcome.status}[/]  {count} of {len(tasks)}  {escape(name)}{took}{error}")


def _show(console: Console, folder: SweepFolder, found: Sequence[Member], skipped: int) -> None:
    table = Table(Column("member", overflow="fold"), "status", Column("seconds", justify="right"), "error")
    for status, style in _STYLES.items():
        for member in found:
            if member.status == status:
                seconds = "" if member.seconds is None else f"{member.seconds:.1f}"
                table.add_row(escape(member.folder), f"[{style}]{status}[/]", seconds, escape(member.error or ""))
    console.print(table)
    open_ends = sum(member.status != "ok" for member in found)
    if skipped:
        console.print(f"{skipped} had ended well before and were not run again", highlight=False)
    if open_ends:
        hint = f"the same command with out_dir={folder.path} runs them"
        console.print(escape(f"{open_ends} of {len(found)} did not end well; {hint}"), soft_wrap=True, highlight=False)
    console.print(escape(f"sweep: {folder.path / 'sweep.json'}"), soft_wrap=True, highlight=False)
