"""What a command writes elsewhere does not go unseen."""

import os
import tempfile
from pathlib import Path

import pytest

WRITES = {
    "a file": lambda elsewhere: (elsewhere / "a").write_text(""),
    "a folder": lambda elsewhere: (elsewhere / "a").mkdir(),
    "another name": lambda elsewhere: Path("given").rename(elsewhere / "a"),
    "a link": lambda elsewhere: os.symlink("given", elsewhere / "a"),
    "the home": lambda elsewhere: Path("~/a").expanduser().write_text(""),
    "a temporary file": lambda elsewhere: tempfile.mkstemp(),
    "the working directory": lambda elsewhere: Path("a").mkdir(),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_what_is_written_elsewhere_is_seen(write, surroundings, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    Path("given").touch()
    with pytest.raises(AssertionError), surroundings.watched("out"):
        write(elsewhere)


def test_what_may_be_written_and_what_is_only_read_is_passed_over(surroundings, tmp_path_factory):
    other = tmp_path_factory.mktemp("other") / "a"
    other.touch()
    with surroundings.watched("out"):
        other.read_text()
        Path("out").mkdir()
        Path("out", "a").touch()
    assert not os.listdir()
