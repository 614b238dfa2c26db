"""A command that does next to nothing, and detectors for jobs that run side by side."""

import sys
import types
from pathlib import Path

from detinv.results.io.files import prepare_out_dir

_MEETING = """
import os
import time
from pathlib import Path


def dies(name):
    meet("dies", "lives")
    os._exit(7)


def lives(name):
    from detinv.detectors.load import load_detector

    meet("lives", "dies")
    return load_detector("shapes_retinanet")


def meet(own, other):
    folder = Path(__file__).parent
    (folder / own).touch()
    for _ in range(1200):
        if (folder / other).exists():
            return
        time.sleep(0.05)
    raise RuntimeError("nobody came")
"""


def stand_in(monkeypatch, command, run):
    """Put `run` in the place of a command of this process."""
    module = types.ModuleType(f"detinv.commands.{command}")
    module.run = run
    monkeypatch.setitem(sys.modules, f"detinv.commands.{command}", module)


def leave_results(config):
    """What a command leaves in its own folder: here, how often it was run."""
    times = prepare_out_dir(config.out_dir) / "times"
    times.write_text(times.read_text() + "x" if times.exists() else "x")


def meeting_detectors(folder: Path) -> None:
    """Files dies.yaml and lives.yaml, two detectors that wait for each other; then one takes its process with it."""
    (folder / "detectors_of_sweep_tests.py").write_text(_MEETING)
    for kind in ("dies", "lives"):
        (folder / f"{kind}.yaml").write_text(f"_target_: detectors_of_sweep_tests.{kind}\n")
