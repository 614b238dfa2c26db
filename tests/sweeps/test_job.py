"""Whatever happens in a job is an outcome, except an interruption."""

import json
import sys

import pytest

from detinv.commands import execute
from detinv.errors import ConfigError
from detinv.sweeps.job import JobOutcome, Task, run_apart, run_here


@pytest.fixture
def task(tmp_path):
    return Task("train", ("seed=1",), tmp_path, tmp_path / "outcome.json", tmp_path / "log")


def command(monkeypatch, ends):
    """Let commands return what they are told to, or raise it."""

    def run_command(name, overrides):
        assert (name, overrides) == ("train", ("seed=1",))
        if isinstance(ends, BaseException):
            raise ends
        return ends

    monkeypatch.setattr(execute, "run_command", run_command)


def caused(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("ends", "error"),
    [
        (0, None),
        (1, "exit status 1"),
        (ConfigError("weights:\n  no such file"), "weights: no such file"),
        (ValueError("first\nsecond"), "ValueError: first"),
        (MemoryError(), "MemoryError: MemoryError"),
        (caused(RuntimeError("in a call"), KeyError("box")), "KeyError: 'box'"),
        (SystemExit(5), "exit status 5"),
    ],
)
def test_an_end_becomes_an_outcome_that_is_written_down(ends, error, task, monkeypatch):
    command(monkeypatch, ends)
    outcome = run_here(task)
    assert (outcome.status, outcome.error) == ("failed" if error else "ok", error)
    assert JobOutcome(**json.loads(task.outcome.read_text())) == outcome


def test_an_interruption_is_none(task, monkeypatch):
    command(monkeypatch, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        run_here(task)
    assert not task.outcome.exists()


def test_an_exit_ends_a_process_of_its_own(task, monkeypatch):
    """Which is how submitit ends it to run the task again on another machine."""
    monkeypatch.setattr("os.dup2", lambda log, stream: None)
    command(monkeypatch, SystemExit(-1))
    with pytest.raises(SystemExit):
        run_apart(task)
    assert not task.outcome.exists()


def test_the_processes_of_a_job_repeat_its_own_command_line(task, monkeypatch):
    """Lightning starts them by that of the process it is in, which is a launcher's worker."""
    seen = []

    def run_command(name, overrides):
        seen.append((sys.modules["__main__"].__spec__.name, sys.argv[1:]))
        return 0

    monkeypatch.setattr("os.dup2", lambda log, stream: None)
    monkeypatch.setattr(execute, "run_command", run_command)
    before = sys.argv
    assert run_apart(task).status == "ok"
    assert seen == [("detinv.__main__", ["train", "seed=1"])]
    assert sys.argv is before


def test_a_machine_without_the_folder_says_so(task, monkeypatch):
    command(monkeypatch, 0)
    outcome = run_apart(Task(task.command, task.overrides, task.folder / "elsewhere", task.outcome, task.log))
    assert outcome.status == "failed"
    assert "elsewhere" in outcome.error and "need the same folders" in outcome.error


def test_a_person_can_read_what_went_wrong(task, monkeypatch, capsys):
    command(monkeypatch, ConfigError("no such file"))
    run_here(task)
    command(monkeypatch, ValueError("broken"))
    run_here(task)
    told = capsys.readouterr().err
    assert told.startswith("detinv: no such file\nTraceback")
    assert told.endswith("ValueError: broken\n")
