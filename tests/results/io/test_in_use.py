"""A folder has one writer at a time."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from detinv.errors import OutputError
from detinv.results.io.in_use import LOCK, held

fcntl = pytest.importorskip("fcntl")

_HOLD = """
import fcntl, sys
file = open(sys.argv[1], "w+")
fcntl.lockf(file, fcntl.LOCK_EX)
file.write("process 7 of somewhere")
file.flush()
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def another_holds(folder: Path) -> Iterator[subprocess.Popen]:
    """Hold a folder from another process, as a run in it does."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", _HOLD, str(folder / LOCK)], stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_a_folder_in_use_is_refused_until_its_process_has_died(tmp_path: Path):
    with another_holds(tmp_path) as process:
        with (
            pytest.raises(OutputError, match=f"out_dir {tmp_path} is in use by process 7 of somewhere; wait until"),
            held(tmp_path),
        ):
            pytest.fail("two writers")
        process.kill()
        process.wait()
        with held(tmp_path):
            assert "process" in (tmp_path / LOCK).read_text()
    assert list(tmp_path.iterdir()) == []


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
