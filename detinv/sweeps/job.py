"""One job of a sweep: a command as one would type it, run in this process or wherever a launcher starts it."""

import os
import platform
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from detinv.errors import DetinvError, OutputError
from detinv.inputs.printable import one_line, reason_of
from detinv.results.io.files import write_json
from detinv.runtime.interrupts import INTERRUPTED, interruption_asked

_INTERRUPTED = f"exit status {INTERRUPTED}"


@dataclass(frozen=True)
class JobOutcome:
    """How a job ended.

    Args:
        status: whether the command succeeded.
        error: one line; None if there was none.
        seconds: duration; None where it is not known.
    """

    status: Literal["ok", "failed"]
    error: str | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Task:
    """A command to be run, in plain values, so that it can be sent to any process on any machine.

    Args:
        command, overrides: of `detinv COMMAND OVERRIDES`.
        folder: working directory, absolute, so that relative paths mean the same everywhere.
        outcome: file for the outcome, so that it is known even if nobody waited for it.
        log: file for its output when it runs in another process.
    """

    command: str
    overrides: tuple[str, ...]
    folder: Path
    outcome: Path
    log: Path


def run_here(task: Task) -> JobOutcome:
    """Run a task in this process; everything that happens in it except an interruption becomes an outcome."""
    started = time.perf_counter()
    try:
        error = _error_of(task)
    except SystemExit as stop:
        # Lightning turns an interruption into an exit of its own.
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from stop
        error = f"exit status {stop.code}"
    if error == _INTERRUPTED:
        # A command that has ended in good order because of a signal; the other jobs are not to be begun.
        raise KeyboardInterrupt
    return _ended(task, error, started)


def run_apart(task: Task) -> JobOutcome:
    """Run a task in a process of its own, whose output goes to the task's log.

    An exit ends that process: its launcher may have asked for it, to run the task again elsewhere.
    """
    started = time.perf_counter()
    try:
        os.chdir(task.folder)
        log = os.open(task.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    except OSError as error:
        what = f"{reason_of(error)} on {platform.node()}"
        return JobOutcome("failed", f"{what}; all machines of a sweep need the same folders")
    # The descriptors themselves, because libraries and log handlers keep references to the streams.
    for stream in (1, 2):
        os.dup2(log, stream)
    with _own_command_line(task):
        return _ended(task, _error_of(task), started)


@contextmanager
def _own_command_line(task: Task) -> Iterator[None]:
    """Give the process the command line of its job, which Lightning repeats for each further one of `trainer.devices`.

    That of a launcher's worker would start another worker.
    """
    main = sys.modules["__main__"]
    before = sys.argv, main.__spec__
    sys.argv, main.__spec__ = ["detinv", task.command, *task.overrides], find_spec("detinv.__main__")
    try:
        yield
    finally:
        sys.argv, main.__spec__ = before


def _error_of(task: Task) -> str | None:
    from detinv.commands.execute import run_command

    try:
        status = run_command(task.command, task.overrides)
    except Exception as error:
        if interruption_asked():
            # What a library made of the interruption is no failure of the job.
            raise KeyboardInterrupt from error
        return _told(error)
    return f"exit status {status}" if status else None


def _told(error: Exception) -> str:
    """Print an error where the job runs, and return it in one line."""
    if isinstance(error, DetinvError):
        print(f"detinv: {one_line(str(error))}", file=sys.stderr)
        return one_line(str(error))
    traceback.print_exception(error)
    return _cause_of(error)


def _cause_of(error: BaseException) -> str:
    """Describe the first error of the chain: those that wrap it say where it happened, rarely what."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {reason_of(error)}"


def _ended(task: Task, error: str | None, started: float) -> JobOutcome:
    outcome = JobOutcome("failed" if error else "ok", error, round(time.perf_counter() - started, 1))
    try:
        write_json(task.folder / task.outcome, asdict(outcome))
    except OutputError as problem:
        # Whoever waits for the job learns of it all the same; a full disk must not end the jobs that follow.
        print(f"detinv: {one_line(str(problem))}", file=sys.stderr)
    return outcome
