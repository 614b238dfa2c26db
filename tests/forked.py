"""`detinv` in a process of its own that can be killed, without importing the libraries anew each time.

A server imports them once and forks a child for every command. It starts from a clean interpreter, because torch cannot
compute gradients in a child of a process that has done so before.
"""

import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["detinv.cli", "detinv.commands.invert", "tests.forked"])
_NO_TEXT = os.devnull


class ForkedCommand:
    """A running `detinv WORDS`.

    Args:
        words: of the command line.
        errors: file for what it writes to stderr.
    """

    def __init__(self, words: list[str], errors: Path) -> None:
        self._errors = errors
        self._process = _CONTEXT.Process(target=_main, args=(words, str(errors)))
        self._process.start()

    def wait_until(self, happened: Callable[[], object], seconds: float = 120) -> None:
        """Return as soon as `happened()` is true; fail if the command ends before."""
        deadline = time.monotonic() + seconds
        while not happened():
            assert time.monotonic() < deadline
            assert self._process.is_alive(), self.errors()
            time.sleep(0.02)

    def send(self, signal: int) -> None:
        """Send it a signal."""
        assert self._process.pid is not None
        os.kill(self._process.pid, signal)

    def wait(self, seconds: float = 120) -> int:
        """Wait for its end and return its exit status, -N after signal N."""
        self._process.join(seconds)
        assert self._process.exitcode is not None, f"still running after {seconds} seconds: {self.errors()}"
        return self._process.exitcode

    def errors(self) -> str:
        """Return what it has written to stderr."""
        return self._errors.read_text() if self._errors.exists() else ""


def _main(words: list[str], errors: str) -> None:
    for descriptor, path in ((1, _NO_TEXT), (2, errors)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, descriptor)
    from detinv.cli import main

    sys.exit(main(words))
