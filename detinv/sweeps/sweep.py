"""`detinv COMMAND -m ...`: check every job of a sweep, run those that are not done, and report how each one ended."""

from collections.abc import Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from detinv.commands.execute import check_command, says_trust
from detinv.config.composition.out_dir import claim_dated_folder, is_first_process
from detinv.config.trust import trusting
from detinv.config.words import quoted_override
from detinv.errors import ConfigError, DetinvError
from detinv.results.io.files import prepare_out_dir
from detinv.results.io.in_use import held
from detinv.runtime.interrupts import begin_work
from detinv.sweeps.folder import JobRecord, SweepFolder
from detinv.sweeps.grammar import Combination, combinations, key_of
from detinv.sweeps.inputs import inputs_of
from detinv.sweeps.job import Task
from detinv.sweeps.launcher import AbstractLauncher, choose_launcher, is_launcher_option

_FAILED = 1
# In the order of the table: what needs attention comes last.
_STYLES = {"ok": "green", "missing": "yellow", "failed": "bold red"}


def sweep(command: str, overrides: Sequence[str]) -> int:
    """Run a command with every combination of the values that its overrides list.

    Jobs that have succeeded before are not run again.

    Args:
        command: a name in `COMMANDS`.
        overrides: of the jobs, with Hydra's lists of values, and of `hydra/launcher`.

    Returns:
        0 if all jobs succeeded, 1 if one did not.

    Raises:
        DetinvError: before any job is run: for a mistake in the input of one; when a job that has succeeded before was
            made from files that have changed since.
        KeyboardInterrupt: after the table of jobs, when interrupted.
    """
    launcher = choose_launcher([word for word in overrides if is_launcher_option(word)])
    # Listing the values composes choices, which may be files of the user's.
    with trusting(says_trust(overrides)):
        asked = combinations(command, [word for word in overrides if not is_launcher_option(word)])
    configs = [_checked(command, combination) for combination in asked]
    begin_work()
    path = prepare_out_dir(_path(command, asked, configs))
    first = is_first_process() or not _share_jobs(configs)
    # Another sweep would not know of these jobs, and drop them from the record.
    with held(path) if first else nullcontext():
        return _run(launcher, SweepFolder(path, command, first), asked, configs, Console(quiet=not first))


def _run(
    launcher: AbstractLauncher,
    folder: SweepFolder,
    asked: Sequence[Combination],
    configs: Sequence[DictConfig],
    console: Console,
) -> int:
    names = folder.enlist([_without_out_dir(combination) for combination in asked])
    groups = dict(zip(names, configs, strict=True))
    known: dict[str, str | None] = {}
    inputs = {name: inputs_of(config, known, folder.path) for name, config in groups.items()}
    folder.check_unchanged(inputs)
    todo = [name for name in names if folder.job(name).status != "ok"]
    tasks = {name: folder.task(name, _own_words(folder, name, groups[name])) for name in todo}
    interrupted = False
    folder.begin({name: inputs[name] for name in todo})
    if tasks:
        try:
            _launch(launcher, tasks, folder, console)
        except KeyboardInterrupt:
            interrupted = True
    found = [folder.job(name) for name in names]
    _show(console, folder, found, len(names) - len(todo))
    if interrupted:
        raise KeyboardInterrupt
    if folder.unwritten is not None:
        raise folder.unwritten
    return _FAILED if any(job.status != "ok" for job in found) else 0


def _checked(command: str, combination: Combination) -> DictConfig:
    try:
        return check_command(command, combination.overrides)
    except DetinvError as error:
        job = " ".join(combination.swept)
        raise ConfigError(f"{job}: {error}" if job and job not in str(error) else str(error)) from error


def _share_jobs(configs: Sequence[DictConfig]) -> bool:
    """Tell whether jobs are for several processes: each runs this command line, and only takes part in the jobs.

    Otherwise processes that a launcher has numbered, as SLURM does its tasks, have a sweep each.
    """
    from detinv.runtime.processes import for_one_process

    asked: list[Any] = [OmegaConf.to_container(config.get("trainer") or OmegaConf.create()) for config in configs]
    # `detinv attribute` has an option of its own for them.
    asked += [{"devices": config.get("processes", 1)} for config in configs]
    return not all(for_one_process(trainer) for trainer in asked)


def _path(command: str, asked: Sequence[Combination], configs: Sequence[DictConfig]) -> Path:
    if not any(key_of(word) == "out_dir" for word in asked[0].overrides):
        return claim_dated_folder(f"{command}_sweep")
    given = sorted({str(config.out_dir) for config in configs})
    if len(given) > 1:
        raise ConfigError(
            f"out_dir={given[0]} for one job, {given[1]} for another: give one folder for all, in which each "
            "job gets its own"
        )
    return Path(given[0])


def _without_out_dir(combination: Combination) -> Combination:
    kept = [tuple(w for w in words if key_of(w) != "out_dir") for words in (combination.overrides, combination.swept)]
    return Combination(*kept)


def _own_words(folder: SweepFolder, name: str, config: DictConfig) -> list[str]:
    """Return the overrides of a job alone: its own folder, and the sweep as its group in the dashboard."""
    words = [*folder.job(name).overrides, quoted_override("out_dir", str(folder.path / name))]
    logger = config.get("logger") or {}
    if "group" in logger and logger["group"] is None:
        words.append(quoted_override("logger.group", folder.path.resolve().name))
    return words


def _launch(launcher: AbstractLauncher, tasks: dict[str, Task], folder: SweepFolder, console: Console) -> None:
    def say(text: str) -> None:
        console.print(text, soft_wrap=True, highlight=False)

    say(f"{len(tasks)} to run in {escape(str(folder.path))}")
    # Closed whatever happens, so that nothing is left running.
    with closing(launcher.launch(tasks, folder.path)) as outcomes:
        for count, (name, outcome) in enumerate(outcomes, 1):
            folder.note(name, outcome)
            took = "" if outcome.seconds is None else f"  {outcome.seconds:.1f} s"
            error = f"  {escape(outcome.error)}" if outcome.error else ""
            style = _STYLES[outcome.status]
            say(f"[{style}]{outcome.status}[/]  {count} of {len(tasks)}  {escape(name)}{took}{error}")


def _show(console: Console, folder: SweepFolder, found: Sequence[JobRecord], skipped: int) -> None:
    table = Table(Column("job", overflow="fold"), "status", Column("seconds", justify="right"), "error")
    for status, style in _STYLES.items():
        for job in found:
            if job.status == status:
                seconds = "" if job.seconds is None else f"{job.seconds:.1f}"
                table.add_row(escape(job.folder), f"[{style}]{status}[/]", seconds, escape(job.error or ""))
    console.print(table)
    open_ends = sum(job.status != "ok" for job in found)
    if skipped:
        console.print(f"{skipped} had succeeded before and were not run again", highlight=False)
    if open_ends:
        hint = f"the same command with out_dir={folder.path} runs them"
        console.print(escape(f"{open_ends} of {len(found)} did not succeed; {hint}"), soft_wrap=True, highlight=False)
    console.print(escape(f"sweep: {folder.path / 'sweep.json'}"), soft_wrap=True, highlight=False)
