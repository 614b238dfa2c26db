"""Jobs of submitit in processes of this machine, as SLURM would run them."""

import json
import pickle
from contextlib import nullcontext

import pytest
import yaml

from detinv.cli import main
from detinv.config.folders import config_dir
from detinv.errors import ConfigError
from detinv.sweeps.job import JobOutcome, Task
from detinv.sweeps.submitit_launcher import SubmititLauncher, _Resumable
from tests.sweeps.stand_ins import meeting_detectors

submitit = pytest.importorskip("submitit", reason="needs the extra detinv[slurm]")
TINY = ("layout=plain", "layout.count=1", "steps=2", "trainer.accelerator=cpu", "logger=none")


@pytest.mark.slow
def test_jobs_run_side_by_side_and_isolated(tmp_path, monkeypatch):
    meeting_detectors(tmp_path)
    monkeypatch.chdir(tmp_path)
    words = ["detector=dies.yaml,lives.yaml", *TINY, "trust_config=true", "out_dir=sweep"]
    local = ["hydra/launcher=submitit_local", "hydra.launcher.array_parallelism=2"]
    assert main(["invert", "-m", *words, *local]) == 1
    out = tmp_path / "sweep"
    dies, lives = json.loads((out / "sweep.json").read_text())["jobs"]
    assert (dies["status"], lives["status"]) == ("failed", "ok")
    assert "died" in dies["error"] and ".submitit" in dies["error"]
    assert (out / "detector_lives.yaml" / "report.html").is_file()
    assert "redetected" in (out / "logs" / "detector_lives.yaml.log").read_text()


def test_a_result_that_cannot_be_read_ends_no_other_job(tmp_path, monkeypatch):
    class Job:
        job_id = "7"

        def __init__(self, resumable):
            self.task = resumable.task

        def done(self):
            return True

        def result(self):
            if self.task.command == "cut":
                raise pickle.UnpicklingError("pickle data was truncated")
            return JobOutcome("ok")

    class Executor:
        def __init__(self, folder, cluster):
            self.submit, self.batch = Job, nullcontext

        def update_parameters(self, **options):
            pass

    monkeypatch.setattr("submitit.AutoExecutor", Executor)
    tasks = {name: Task(name, (), tmp_path, tmp_path / "a.json", tmp_path / "a.log") for name in ("cut", "whole")}
    found = dict(SubmititLauncher("local", 2).launch(tasks, tmp_path))
    assert found["whole"].status == "ok" and found["cut"].status == "failed"
    assert "truncated" in found["cut"].error


def test_slurm_gets_one_array_with_the_options_by_their_names(tmp_path, monkeypatch):
    monkeypatch.setattr("submitit.SlurmExecutor.affinity", classmethod(lambda cls: 1))
    launcher = SubmititLauncher("slurm", 3, timeout_min=90, name="study", partition="gpu", gpus_per_node=1, qos=None)
    executor = launcher._executor(tmp_path)
    text = executor._executor._make_submission_file_text("run-it", "uid")
    for line in ("--partition=gpu", "--time=90", "--job-name=study", "--gpus-per-node=1"):
        assert f"#SBATCH {line}" in text
    assert executor._executor.parameters["array_parallelism"] == 3
    assert "qos" not in text


def test_every_option_of_the_file_is_known_to_submitit(tmp_path, monkeypatch):
    monkeypatch.setattr("submitit.SlurmExecutor.affinity", classmethod(lambda cls: 1))
    options = yaml.safe_load((config_dir() / "launcher" / "submitit_slurm.yaml").read_text())
    of_another_kind = {"setup": ["module load cuda"], "additional_parameters": {"mail-type": "FAIL"}}
    given = {name: of_another_kind.get(name, 1) if value is None else value for name, value in options.items()}
    executor = SubmititLauncher(**given)._executor(tmp_path)
    text = executor._executor._make_submission_file_text("run-it", "uid")
    assert "\nmodule load cuda\n" in text and "--mail-type=FAIL" in text and "--signal=USR2@1\n" in text


def test_a_job_that_is_taken_away_runs_the_same_task_again(tmp_path):
    task = Task("train", ("seed=1",), tmp_path, tmp_path / "a.json", tmp_path / "a.log")
    again = _Resumable(task).checkpoint()
    assert isinstance(again, submitit.helpers.DelayedSubmission)
    assert again.function.task == task


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"cluster": "pbs", "array_parallelism": 1}, "cluster=pbs: expected one of local, slurm"),
        ({"cluster": "local", "array_parallelism": 0}, "array_parallelism=0: expected a number, 1 or more"),
    ],
)
def test_options_that_cannot_be_met(options, told):
    with pytest.raises(ConfigError, match=told):
        SubmititLauncher(**options)


def test_without_slurm_there_is_nothing_to_submit_to(tmp_path, monkeypatch):
    monkeypatch.setattr("submitit.SlurmExecutor.affinity", classmethod(lambda cls: -1))
    with pytest.raises(ConfigError, match="jobs for slurm cannot be made: "):
        next(SubmititLauncher("slurm", 1).launch({}, tmp_path))


@pytest.mark.parametrize(
    ("cluster", "at_once", "expected"), [("local", 1, None), ("local", 2, 4), ("local", 16, 1), ("slurm", 2, None)]
)
def test_jobs_beside_each_other_divide_the_cores(cluster, at_once, expected, tmp_path, monkeypatch):
    monkeypatch.setattr("detinv.sweeps.submitit_launcher.cores", lambda: 8)
    monkeypatch.setattr("submitit.SlurmExecutor.affinity", classmethod(lambda cls: 1))
    monkeypatch.setattr("submitit.AutoExecutor.batch", lambda executor: nullcontext())
    monkeypatch.setattr("submitit.AutoExecutor.submit", lambda executor, job: job.threads)
    launcher = SubmititLauncher(cluster, at_once)
    task = Task("train", (), tmp_path, tmp_path / "a.json", tmp_path / "a.log")
    assert list(launcher._submitted(launcher._executor(tmp_path), [("a", task)])) == [expected]
