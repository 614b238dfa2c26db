"""Whatever becomes of its output, a command ends as it would have ended."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

import detinv
from detinv.cli import main
from detinv.commands.terminal import console
from detinv.runtime.streams import lasting_streams
from tests.sweeps.stand_ins import stand_in

ENVIRONMENT = {"PYTHONPATH": str(Path(detinv.__file__).parents[1]), "PATH": os.environ["PATH"]}
NAME = "\u6f22\u5b57"


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line in which $DETINV is the command."""
    environment |= {**ENVIRONMENT, "DETINV": f"{sys.executable} -m detinv"}
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
        check=False,
    )


def test_a_reader_may_go_away():
    ended = shell("$DETINV invert --help | head -n 1")
    assert (ended.returncode, ended.stderr, ended.stdout.count("\n")) == (0, "", 1)
    ended = shell("$DETINV invrt 2>&1 | true")
    assert (ended.returncode, ended.stderr) == (2, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told_in_one_line():
    ended = shell("$DETINV --help >/dev/full")
    assert ended.returncode == 1
    assert ended.stderr == "detinv: standard output cannot be written: [Errno 28] No space left on device\n"
    assert shell("$DETINV invrt >/dev/full 2>/dev/full").returncode == 2


def test_a_command_needs_no_output_at_all():
    ended = shell("$DETINV --help >&- 2>&- <&-; echo $?")
    assert (ended.stdout, ended.stderr) == ("0\n", "")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_what_a_terminal_cannot_encode_is_written_as_escapes(encoding):
    ended = shell(f"$DETINV {NAME}", PYTHONIOENCODING=encoding)
    assert ended.returncode == 2 and "Traceback" not in ended.stderr


def test_a_finished_run_is_reported_whatever_the_terminal_knows(monkeypatch):
    stand_in(monkeypatch, "train", lambda config, build: console().print(f"report: {NAME} ok"))
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="latin-1"))
    assert main(["train"]) == 0
    assert sys.stdout.errors == "strict"
    assert written.getvalue() == b"report: \\u6f22\\u5b57 ok\n"


def test_a_run_goes_on_without_its_reader(monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    seen = []

    def run(config, build):
        for number in range(3):
            print(f"line {number}", flush=True)
            seen.append(number)

    stand_in(monkeypatch, "train", run)
    with os.fdopen(writing, "w") as broken:
        monkeypatch.setattr(sys, "stdout", broken)
        assert main(["train"]) == 0 and seen == [0, 1, 2]


@pytest.mark.parametrize("columns", ["0", "1", "40", "-5", "wide"])
def test_terminals_of_any_width(columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", columns)
    with lasting_streams():
        console().print("a long line of words that has to be broken somewhere")
    assert "".join(capsys.readouterr().out.split()) == "alonglineofwordsthathastobebrokensomewhere"
    assert os.environ["COLUMNS"] == columns


def test_a_folder_that_is_gone_is_told(tmp_path: Path, monkeypatch, capsys):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert main(["invert", f"out_dir={tmp_path / 'out'}"]) == 2
    assert "the working directory cannot be used" in capsys.readouterr().err
    assert main(["--help"]) == 0
