"""Ray with two workers on this machine: real jobs, and one that takes its process with it."""

import json
import signal
import sys
from types import SimpleNamespace

import pytest

from detinv.cli import main
from detinv.errors import ConfigError
from detinv.sweeps.ray_launcher import RayLauncher
from tests.sweeps.stand_ins import meeting_detectors

pytest.importorskip("ray", reason="needs the extra detinv[ray]")
TINY = ("layout=plain", "layout.count=1", "steps=2", "trainer.accelerator=cpu", "logger=none")


@pytest.mark.slow
def test_jobs_run_side_by_side_and_isolated(tmp_path, monkeypatch, capsys):
    # No cluster of the person who tests, and no token in their home.
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    meeting_detectors(tmp_path)
    monkeypatch.chdir(tmp_path)
    # Two at a time even on a machine with one processor.
    ray = ["hydra/launcher=ray", "hydra.launcher.num_cpus=0.5"]
    assert (
        main(["invert", "-m", "detector=dies.yaml,lives.yaml", *TINY, "trust_config=true", "out_dir=sweep", *ray]) == 1
    )
    out = tmp_path / "sweep"
    dies, lives = json.loads((out / "sweep.json").read_text())["jobs"]
    assert dies["status"] == "failed" and dies["error"].startswith("its process died: ")
    assert (lives["status"], lives["error"]) == ("ok", None)
    assert (out / "detector_lives.yaml" / "report.html").is_file()
    # Its words are in its log, not here.
    assert "redetected" in (out / "logs" / "detector_lives.yaml.log").read_text()
    assert "redetected" not in capsys.readouterr().out


def test_a_sweep_on_ray_is_interrupted_by_sigterm_like_any_other(tmp_path, monkeypatch):
    def init(address, **options):
        # As Ray does, whose handler ends the process.
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number))

    monkeypatch.setattr("ray.init", init)
    monkeypatch.setattr("ray.shutdown", lambda: None)
    monkeypatch.setattr("ray.nodes", lambda: [{"Resources": {"CPU": 2.0}, "Alive": True}])
    monkeypatch.setattr("ray.remote", lambda **needs: lambda run: SimpleNamespace(remote=lambda task: task))
    monkeypatch.setattr("ray.wait", lambda pending: signal.raise_signal(signal.SIGTERM))
    monkeypatch.setattr("ray.cancel", lambda task, force: None)
    assert main(["invert", "-m", "seed=1,2", *TINY, f"out_dir={tmp_path}", "hydra/launcher=ray"]) == 130
    assert [job["status"] for job in json.loads((tmp_path / "sweep.json").read_text())["jobs"]] == ["missing"] * 2


@pytest.fixture
def cluster(monkeypatch):
    """Two machines as Ray lists them, and one that is gone."""
    nodes = [({"CPU": 8.0, "GPU": 4.0}, True), ({"CPU": 16.0}, True), ({"CPU": 64.0, "GPU": 8.0}, False)]
    monkeypatch.setattr("ray.nodes", lambda: [{"Resources": has, "Alive": alive} for has, alive in nodes])


@pytest.mark.parametrize(
    ("options", "needs"),
    [
        ({}, {"num_cpus": 1, "num_gpus": 1}),
        ({"num_gpus": 0.5, "num_cpus": 4}, {"num_cpus": 4, "num_gpus": 0.5}),
        ({"num_gpus": 0}, {"num_cpus": 1, "num_gpus": 0}),
    ],
)
def test_a_job_has_a_gpu_for_itself_unless_told_otherwise(options, needs, cluster):
    assert RayLauncher(**options)._needs() == needs


def test_without_gpus_a_job_needs_none(monkeypatch):
    monkeypatch.setattr("ray.nodes", lambda: [{"Resources": {"CPU": 2.0}, "Alive": True}])
    assert RayLauncher()._needs() == {"num_cpus": 1, "num_gpus": 0}


@pytest.mark.parametrize(
    ("options", "told"),
    [({"num_gpus": 5}, r"num_gpus=5: the largest machine has 4"), ({"num_cpus": 17}, r"num_cpus=17: .* has 16")],
)
def test_nobody_waits_for_what_no_machine_has(options, told, cluster):
    with pytest.raises(ConfigError, match=told):
        RayLauncher(**options)._needs()


@pytest.mark.parametrize("options", [{"num_cpus": -1}, {"num_gpus": "all"}, {"num_gpus": True}])
def test_needs_are_numbers(options):
    with pytest.raises(ConfigError, match="expected a number, 0 or more"):
        RayLauncher(**options)
