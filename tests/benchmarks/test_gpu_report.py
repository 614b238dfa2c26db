"""The report of a GPU: its script runs without one, and its table shows what was measured."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from detinv.benchmarks.gpu_report import main

SCRIPT = Path(__file__).parents[2] / "experiments" / "gpu_report.sh"
STEP = {
    "detector": "shapes_fcos",
    "batch_size": 8,
    "seconds": {"step": 0.0123},
    "step_to_unmodified": {"median": 1.04, "low": 1.0, "high": 1.1},
    "image_steps_per_second": 650.4,
    "idle_share": 0.125,
    "peak_bytes": 3 * 2**30,
}


def test_one_file_and_one_table(tmp_path, capsys):
    for name, content in (
        ("fp32/bench_step.json", {"benchmark": "step", "results": [STEP]}),
        ("ap90/bench_inversion.json", {"benchmark": "inversion", "results": {}}),
    ):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(json.dumps(content))
    main(str(tmp_path))
    assert set(json.loads((tmp_path / "gpu_report.json").read_text())) == {"fp32", "ap90"}
    row = "| fp32 | shapes_fcos | 8 | 12.3 ms | 1.04 (1.00 to 1.10) | 650 | 12 % | 3.0 GB |"
    assert row in (tmp_path / "gpu_report.md").read_text() and row in capsys.readouterr().out


def test_nothing_measured(tmp_path):
    with pytest.raises(SystemExit, match="nothing has been measured"):
        main(str(tmp_path))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_every_line_of_the_script_runs_without_a_gpu(tmp_path):
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, words in (("detinv", "-m detinv"), ("python", "")):
        (commands / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        (commands / name).chmod(0o755)
    environment = os.environ | {
        "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(SCRIPT.parents[1]),
        "DEVICE": "cpu",
        "SIZE": "tiny",
    }
    done = subprocess.run(["bash", SCRIPT, tmp_path / "out"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "| batch_sizes | shapes_retinanet | 1 |" in done.stdout
