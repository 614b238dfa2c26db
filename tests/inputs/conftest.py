"""What all these tests share: the command line must refuse in one line, and leave everything as it was."""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from detinv import cli

QUIET = ("logger=none", "steps=0", "trainer.accelerator=cpu", "out_dir=out")
"""For `detinv invert`."""
_LONGEST = 520
_composed: dict[tuple[str, ...], object] = {}


def contents(folder: Path) -> dict[str, bytes | None]:
    """All that lies in a folder, by path; None for what is no file."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable[..., str]:
    """Runs a command in an empty folder of its own; what it says on being refused."""
    monkeypatch.chdir(tmp_path)
    compose = cli._compose

    def compose_once(command: str, overrides: Sequence[str], chosen: dict[str, str]) -> object:
        """What Hydra makes of the same words is the same, and takes longest of all; files of detectors may differ."""
        words = (command, *overrides)
        if any(word.startswith("detector=_") for word in overrides):
            return compose(command, overrides, chosen)
        if words not in _composed:
            _composed[words] = compose(command, overrides, chosen)
        return copy.deepcopy(_composed[words])

    monkeypatch.setattr(cli, "_compose", compose_once)

    def call(*words: str, naming: str | tuple[str, ...] = ()) -> str:
        before = contents(tmp_path)
        status = cli.main(words)
        told = capsys.readouterr()
        assert (status, told.out) == (2, ""), told
        assert told.err.startswith("detinv: ") and told.err.endswith("\n") and len(told.err) <= _LONGEST
        line = told.err.removesuffix("\n")
        assert line.isprintable(), line
        for part in (naming,) if isinstance(naming, str) else naming:
            assert part in line, line
        assert contents(tmp_path) == before
        return line

    return call
