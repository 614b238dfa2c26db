"""A process that holds a folder while tests look at it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from detinv.results.io.in_use import LOCK

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
    """Hold a folder from another process, as a run in it does; the test is skipped where there are no locks."""
    pytest.importorskip("fcntl")
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", _HOLD, str(folder / LOCK)], stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()
