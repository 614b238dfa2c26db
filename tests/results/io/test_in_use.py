"""A folder has one writer at a time."""

import re
import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest

from detinv.errors import OutputError
from detinv.results.io.in_use import LOCK, held
from tests.results.io.holder import another_holds

fcntl = pytest.importorskip("fcntl")


def test_a_folder_in_use_is_refused_until_its_process_has_died(tmp_path: Path):
    refusal = f"out_dir {re.escape(str(tmp_path))} is in use by process 7 of somewhere; wait until"
    with another_holds(tmp_path) as process:
        with pytest.raises(OutputError, match=refusal), held(tmp_path):
            pytest.fail("two writers")
        process.kill()
        process.wait()
        with held(tmp_path):
            assert "process" in (tmp_path / LOCK).read_text()
    assert list(tmp_path.iterdir()) == []


def test_the_lock_of_another_run_is_left_alone_where_the_folder_was_replaced(tmp_path: Path):
    folder = tmp_path / "out"
    folder.mkdir()
    with ExitStack() as until_done:
        with held(folder):
            shutil.rmtree(folder)
            folder.mkdir()
            until_done.enter_context(another_holds(folder))
        with pytest.raises(OutputError, match="in use by process 7"), held(folder):
            pytest.fail("two writers")


def test_it_is_let_go_after_an_error(tmp_path: Path):
    for _ in range(2):
        with pytest.raises(RuntimeError), held(tmp_path):
            raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_locks_is_used_all_the_same(tmp_path: Path, monkeypatch):
    def unknown(*args):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "lockf", unknown)
    with held(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path):
    (tmp_path / LOCK).mkdir()
    with pytest.raises(OutputError, match="lock cannot be opened: .*choose another out_dir"), held(tmp_path):
        pytest.fail("nobody knows whether another writes")
    assert (tmp_path / LOCK).is_dir()


def test_the_lock_of_another_program_is_left_alone(tmp_path: Path):
    other = tmp_path / ".lock"
    other.write_text("theirs")
    with held(tmp_path):
        pass
    assert other.read_text() == "theirs"
