"""Three empty folders for a command to run in, and an ear for what it writes elsewhere."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Where the path is among the arguments of what Python announces; the last one is -1 where it is not of an open folder.
_CHANGES = {"os.mkdir": 0, "os.remove": 0, "os.link": 1, "os.rename": 1, "os.symlink": 1}
_listeners: list[Callable[[str], None]] = []


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    """Tell the listeners the paths that Python is about to change; libraries in other languages are not heard."""
    if not _listeners:
        return
    if event == "open" and arguments[2] & _WRITING:
        path = arguments[0]
    elif event in _CHANGES and arguments[-1] == -1:
        path = arguments[_CHANGES[event]]
    else:
        return
    if not isinstance(path, int):
        for listener in _listeners:
            listener(os.path.abspath(os.fsdecode(path)))


# It stays until the process ends, and costs next to nothing while nobody listens.
sys.addaudithook(_hear)


class Surroundings:
    """A working directory, a home and a folder for temporary files, all empty; the working directory is `here`."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.here, home, temporary = (root / name for name in ("here", "home", "tmp"))
        for folder in (self.here, home, temporary):
            folder.mkdir()
        monkeypatch.setenv("HOME", str(home))
        monkeypatch.setenv("TMPDIR", str(temporary))
        monkeypatch.setattr("tempfile.tempdir", None)
        monkeypatch.chdir(self.here)

    @contextmanager
    def watched(self, written: str | None = None) -> Iterator[None]:
        """Assert that this block leaves the three folders as they were, and writes nothing elsewhere.

        Args:
            written: folder in `here` in which it may write all the same, "." for `here`; removed or emptied afterwards.
        """
        elsewhere: list[str] = []
        before = self._contents()

        def listen(path: str) -> None:
            if not Path(path).is_relative_to(self.root) and path != os.devnull and "/__pycache__/" not in path:
                elsewhere.append(path)

        _listeners.append(listen)
        try:
            yield
        finally:
            _listeners.remove(listen)
        assert not elsewhere
        if written is not None:
            shutil.rmtree(self.here / written, ignore_errors=True)
            self.here.mkdir(exist_ok=True)
            os.chdir(self.here)
        assert self._contents() == before

    def _contents(self) -> set[str]:
        return {str(path.relative_to(self.root)) for path in self.root.rglob("*")}
