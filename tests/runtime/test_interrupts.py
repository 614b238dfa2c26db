"""Ctrl-C ends a command with status 130 at any time, also where a library makes something else of it."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import detinv
from detinv.cli import main
from detinv.errors import ConfigError
from detinv.runtime.interrupts import Interruption, interruption_asked, signals_interrupt
from tests.sweeps.stand_ins import stand_in


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_amid_imports_ends_the_program_at_once(number, tmp_path: Path):
    environment = {"PYTHONPATH": str(Path(detinv.__file__).parents[1]), "PATH": "", "PYTHONVERBOSE": ""}
    words = [sys.executable, "-X", "importtime", "-m", "detinv", "invert", "out_dir=out"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment) as process:
        assert process.stderr is not None
        for line in process.stderr:
            # Torch has begun to be imported, which takes seconds.
            if line.rstrip().endswith(" torch._utils"):
                process.send_signal(number)
                break
        rest = process.stderr.read()
    assert process.returncode == 130, rest[-2000:]
    assert "detinv: interrupted" in rest and "Traceback" not in rest
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("made_of_it", [RecursionError, ImportError, ConfigError, SystemExit])
def test_an_error_that_a_library_makes_of_an_interruption_is_one(made_of_it, monkeypatch, capsys):
    def run(config, build):
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            raise made_of_it("partially initialized module") from None

    stand_in(monkeypatch, "train", run)
    assert main(["train"]) == 130
    assert capsys.readouterr().err == "detinv: interrupted\n"


def test_a_sweep_stops_where_a_library_makes_an_error_of_an_interruption(monkeypatch, tmp_path: Path):
    seen = []

    def run(config, build):
        seen.append(config.seed)
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            raise RecursionError from None

    stand_in(monkeypatch, "train", run)
    assert main(["train", "-m", "seed=1,2", f"out_dir={tmp_path}"]) == 130
    assert seen == [1]


def test_handlers_of_a_program_are_left_alone_and_ours_removed():
    before = signal.getsignal(signal.SIGINT)
    with signals_interrupt(starting=False):
        assert signal.getsignal(signal.SIGINT) is not before
        for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(number)
        assert interruption_asked()
    assert signal.getsignal(signal.SIGINT) is before and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with signals_interrupt(starting=False):
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN and not interruption_asked()
    finally:
        signal.signal(signal.SIGINT, before)


def test_what_a_program_ignores_does_not_stop_its_work():
    """As SIGHUP under `nohup`, and Ctrl-C in what a script starts with `&`."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with Interruption() as interruption:
            signal.raise_signal(signal.SIGTERM)
            assert not interruption.asked
            signal.raise_signal(signal.SIGINT)
            assert interruption.asked
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_other_threads_have_no_signals():
    found = []

    def enter():
        with signals_interrupt(starting=False):
            found.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [before]
