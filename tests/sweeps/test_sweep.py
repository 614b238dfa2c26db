"""`detinv COMMAND -m`: every job as if run alone, whatever happens to the others."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from detinv.cli import main
from detinv.config.words import quoted_override
from detinv.errors import ConfigError
from tests.results.io.holder import another_holds
from tests.sweeps.stand_ins import leave_results, stand_in

TINY = ("layout=plain", "layout.count=1", "steps=2", "trainer.accelerator=cpu")


def jobs(folder: Path) -> dict[str, dict]:
    return {job["folder"]: job for job in json.loads((folder / "sweep.json").read_text())["jobs"]}


def statuses(folder: Path) -> dict[str, str]:
    return {name: job["status"] for name, job in jobs(folder).items()}


def times_run(folder: Path) -> dict[str, int]:
    return {path.parent.name: len(path.read_text()) for path in folder.glob("*/times")}


@pytest.mark.slow
def test_a_job_is_what_its_command_would_be_alone(tmp_path):
    out = tmp_path / "sweep"
    assert main(["invert", "-m", "seed=1,2", *TINY, "logger=none", f"out_dir={out}"]) == 0
    assert main(["invert", "seed=2", *TINY, "logger=none", f"out_dir={tmp_path / 'alone'}"]) == 0
    assert statuses(out) == {"seed_1": "ok", "seed_2": "ok"}
    alone, job = tmp_path / "alone", out / "seed_2"
    assert {path.name for path in job.iterdir()} == {path.name for path in alone.iterdir()}
    configs = [yaml.safe_load((folder / "config.yaml").read_text()) for folder in (alone, job)]
    assert [config.pop("out_dir") for config in configs] == [str(alone), str(job)]
    assert configs[0] == configs[1]
    (picture,) = (alone / "images").iterdir()
    assert (job / "images" / picture.name).read_bytes() == picture.read_bytes()
    assert (out / "seed_1" / "images" / picture.name).read_bytes() != picture.read_bytes()


def test_a_failing_job_is_listed_last_and_run_again_alone(monkeypatch, tmp_path, capsys):
    failing = {1: ConfigError("weights=gone.pth:\nno such file"), 3: RuntimeError("out of luck")}

    def run(config, build):
        leave_results(config)
        if config.seed in failing:
            raise failing[config.seed]
        return int(config.seed == 4)

    stand_in(monkeypatch, "train", run)
    words = ["train", "--multirun", "seed=range(1,5)", f"out_dir={tmp_path}"]
    assert main(words) == 1
    told = capsys.readouterr()
    assert "RuntimeError: out of luck" in told.err and "Traceback" in told.err
    found = jobs(tmp_path)
    assert {name: job["error"] for name, job in found.items()} == {
        "seed_1": "weights=gone.pth: no such file",
        "seed_2": None,
        "seed_3": "RuntimeError: out of luck",
        "seed_4": "exit status 1",
    }
    assert [job["status"] for job in found.values()] == ["failed", "ok", "failed", "failed"]
    assert all(job["seconds"] >= 0 for job in found.values())
    table = re.findall(r"^│ (seed_\d) +│ (\w+) ", told.out, re.MULTILINE)
    assert table == [("seed_2", "ok"), ("seed_1", "failed"), ("seed_3", "failed"), ("seed_4", "failed")]

    failing.clear()
    assert main(words) == 1
    assert statuses(tmp_path) == {"seed_1": "ok", "seed_2": "ok", "seed_3": "ok", "seed_4": "failed"}
    assert times_run(tmp_path) == {"seed_1": 2, "seed_2": 1, "seed_3": 2, "seed_4": 2}


@pytest.mark.slow
def test_a_sweep_grows_in_its_folder(monkeypatch, tmp_path):
    stand_in(monkeypatch, "train", lambda config, build: leave_results(config))
    assert main(["train", "-m", "seed=1,2", f"out_dir={tmp_path}"]) == 0
    assert main(["train", "-m", "seed=2,3", f"out_dir={tmp_path}"]) == 0
    assert times_run(tmp_path) == {"seed_1": 1, "seed_2": 1, "seed_3": 1}
    assert statuses(tmp_path) == {"seed_1": "ok", "seed_2": "ok", "seed_3": "ok"}


@pytest.mark.slow
def test_a_job_made_from_a_file_that_changed_is_not_passed_over(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("one")

    def run(config, build):
        leave_results(config)
        return int(Path("mine.yaml").read_text() == "one")

    stand_in(monkeypatch, "invert", run)
    words = ["invert", "-m", "layout=file", "layout.path=mine.yaml", "out_dir=study"]
    assert main(words) == 1
    Path("mine.yaml").write_text("two")
    assert main(words) == main(words) == 0, "a job that did not succeed is run with the new file"
    record, times = Path("study/sweep.json").read_bytes(), times_run(Path("study"))
    assert list(times.values()) == [2]
    capsys.readouterr()
    Path("mine.yaml").write_text("three")
    assert main(words) == 2
    found = capsys.readouterr().err
    assert found.count("\n") == 1
    assert re.search(
        r"out_dir study holds results of the job \S+ from before mine\.yaml changed; choose another", found
    )
    assert Path("study/sweep.json").read_bytes() == record
    assert times_run(Path("study")) == times


def test_a_sweep_whose_folder_has_the_name_of_its_detector_goes_on(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    stand_in(monkeypatch, "invert", lambda config, build: leave_results(config))
    words = ["invert", "-m", "detector=shapes_fcos", "layout=plain", "seed=1,2", "out_dir=shapes_fcos"]
    assert main(words) == main(words) == 0
    assert times_run(Path("shapes_fcos")) == {"seed_1": 1, "seed_2": 1}


@pytest.mark.slow
def test_the_record_is_kept_as_jobs_end(monkeypatch, tmp_path):
    seen = []

    def run(config, build):
        seen.append(list(statuses(tmp_path).values()))
        leave_results(config)

    stand_in(monkeypatch, "train", run)
    assert main(["train", "-m", "seed=1,2", f"out_dir={tmp_path}"]) == 0
    assert seen == [["missing", "missing"], ["ok", "missing"]]


def test_jobs_go_on_where_their_ends_cannot_be_written(monkeypatch, tmp_path, capsys):
    def run(config, build):
        leave_results(config)
        if config.seed == 1:
            shutil.rmtree(tmp_path / "outcomes")
            (tmp_path / "sweep.json").unlink()
            (tmp_path / "sweep.json").mkdir()
        if config.seed == 2:
            (tmp_path / "sweep.json").rmdir()

    stand_in(monkeypatch, "train", run)
    assert main(["train", "-m", "seed=1,2", f"out_dir={tmp_path}"]) == 0
    assert statuses(tmp_path) == {"seed_1": "ok", "seed_2": "ok"}
    assert "seed_1.json cannot be written" in capsys.readouterr().err
    # Nobody comes after the last one.
    assert main(["train", "-m", "seed=1", f"out_dir={tmp_path}"]) == 2
    told = capsys.readouterr()
    assert "seed_1" in told.out and "sweep.json cannot be written" in told.err


@pytest.mark.parametrize(("command", "option"), [("invert", "trainer.devices=2"), ("attribute", "processes=2")])
def test_further_processes_of_a_job_leave_the_record_to_the_first(command, option, monkeypatch, tmp_path, capsys):
    stand_in(monkeypatch, command, lambda config, build: leave_results(config))
    words = [command, "-m", "seed=1", option, f"out_dir={tmp_path}"]
    assert main(words) == 0
    (job,) = statuses(tmp_path)
    shutil.rmtree(tmp_path / job)
    before = (tmp_path / "sweep.json").read_bytes()
    monkeypatch.setenv("LOCAL_RANK", "1")
    capsys.readouterr()
    with another_holds(tmp_path):
        assert main(words) == 0
    assert times_run(tmp_path) == {job: 1}
    assert (tmp_path / "sweep.json").read_bytes() == before
    assert "sweep:" not in capsys.readouterr().out


def test_each_task_of_slurm_has_a_sweep_of_its_own_where_jobs_have_one_process(monkeypatch, tmp_path, capsys):
    stand_in(monkeypatch, "train", lambda config, build: leave_results(config))
    monkeypatch.setenv("SLURM_PROCID", "1")
    assert main(["train", "-m", "seed=1,2", f"out_dir={tmp_path}"]) == 0
    assert statuses(tmp_path) == {"seed_1": "ok", "seed_2": "ok"}
    assert "sweep:" in capsys.readouterr().out


def test_two_sweeps_do_not_share_a_folder_at_once(monkeypatch, tmp_path, capsys):
    stand_in(monkeypatch, "train", lambda config, build: pytest.fail("another sweep is at work here"))
    with another_holds(tmp_path):
        assert main(["train", "-m", "seed=1,2", f"out_dir={tmp_path}"]) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1
    assert f"out_dir {tmp_path} is in use by" in told.err


@pytest.mark.slow
def test_what_ended_while_nobody_waited_is_collected(monkeypatch, tmp_path):
    stand_in(monkeypatch, "train", lambda config, build: leave_results(config))
    words = ["train", "-m", "seed=1,2", f"out_dir={tmp_path}"]
    assert main(words) == 0
    record = tmp_path / "sweep.json"
    record.write_text(record.read_text().replace('"ok"', '"missing"'))
    assert main(words) == 0
    assert statuses(tmp_path) == {"seed_1": "ok", "seed_2": "ok"}
    assert times_run(tmp_path) == {"seed_1": 1, "seed_2": 1}


@pytest.mark.parametrize(
    "how", ["as Lightning does", "as detinv invert does", pytest.param("by itself", marks=pytest.mark.slow)]
)
def test_an_interruption_leaves_a_record_to_go_on_with(how, monkeypatch, tmp_path, capsys):
    def run(config, build):
        if config.seed == 2:
            if how == "as detinv invert does":
                return 130
            try:
                raise KeyboardInterrupt
            except KeyboardInterrupt:
                if how == "by itself":
                    raise
                raise SystemExit(1)  # noqa: B904
        leave_results(config)
        return 0

    stand_in(monkeypatch, "train", run)
    assert main(["train", "-m", "seed=1,2,3", f"out_dir={tmp_path}"]) == 130
    told = capsys.readouterr()
    assert told.err == "detinv: interrupted\n"
    assert f"with out_dir={tmp_path} runs them" in told.out
    assert statuses(tmp_path) == {"seed_1": "ok", "seed_2": "missing", "seed_3": "missing"}
    stand_in(monkeypatch, "train", lambda config, build: leave_results(config))
    assert main(["train", "-m", "seed=1,2,3", f"out_dir={tmp_path}"]) == 0
    assert times_run(tmp_path) == {"seed_1": 1, "seed_2": 1, "seed_3": 1}


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["seed=1,abc"], ["seed='abc'", "expected a whole number"]),
        (["model=shapes_fcos,shapes_fco"], ["unknown model 'shapes_fco'"]),
        (["model=shapes_fcos,bccd_fasterrcnn"], ["model=bccd_fasterrcnn", "needs data.root=..."]),
        (["seed=1,2", "stpes=3"], ["seed=1", "no option 'stpes'"]),
        (["out_dir=a,b"], ["out_dir=a for one job, b for another"]),
        (["seed=1,2", "out_dir=runs/${seed}"], ["runs/1 for one job, runs/2 for another"]),
        (["seed=interval(0,1)"], ["an interval has no values"]),
        (["hydra/launcher=rya"], ["unknown hydra/launcher 'rya'", "did you mean 'ray'?", "submitit_slurm"]),
        (["hydra/launcher=basic", "hydra.launcher.num_gpus=1"], ["hydra/launcher=basic has no option 'num_gpus'"]),
        (["hydra.sweep.dir=x"], ["hydra.sweep.dir=x", "sweeps have hydra/launcher=NAME"]),
        (["--mulitrun"], ["unknown option '--mulitrun'"]),
    ],
)
def test_a_mistake_in_any_job_is_told_before_one_is_run(words, parts, monkeypatch, tmp_path, capsys):
    stand_in(monkeypatch, "train", lambda config, build: leave_results(config))
    monkeypatch.chdir(tmp_path)
    assert main(["train", "-m", *words]) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1
    for part in parts:
        assert part in told.err
    assert list(tmp_path.iterdir()) == []


def test_a_launcher_without_a_sweep_is_a_mistake(capsys):
    assert main(["train", "hydra/launcher=ray"]) == 2
    assert "add -m" in capsys.readouterr().err


def test_help_is_help(capsys):
    assert main(["train", "-m", "seed=1,2", "--help"]) == 0
    assert "usage: detinv train" in capsys.readouterr().out


def test_every_command_can_be_swept(monkeypatch, tmp_path):
    seen = []
    stand_in(monkeypatch, "run", lambda config, build: seen.append((config.experiment["_target_"], config.steps)))
    out = tmp_path / "a b, c='d'"
    assert main(["run", "-m", "fig10_context,fig11_position", quoted_override("out_dir", str(out))]) == 0
    assert [name.rpartition(".")[2] for name, _ in seen] == ["Context", "Position"]
    assert statuses(out) == {"experiment_fig10_context": "ok", "experiment_fig11_position": "ok"}


@pytest.mark.slow
def test_jobs_are_a_group_in_the_dashboard(monkeypatch, tmp_path):
    seen = []
    stand_in(monkeypatch, "invert", lambda config, build: seen.append((config.logger.get("group"), config.out_dir)))
    words = ["invert", "-m", "seed=1,2"]
    main([*words, f"out_dir={tmp_path / 'study'}"])
    main([*words, f"out_dir={tmp_path / 'other'}", "logger.group=mine"])
    main([*words, f"out_dir={tmp_path / 'third'}", "logger=none"])
    assert [group for group, _ in seen] == ["study", "study", "mine", "mine", None, None]
    assert [Path(out_dir).relative_to(tmp_path).parts for _, out_dir in seen[:2]] == [
        ("study", "seed_1"),
        ("study", "seed_2"),
    ]


def test_a_sweep_has_a_dated_folder_by_default(monkeypatch, tmp_path):
    stand_in(monkeypatch, "train", lambda config, build: leave_results(config))
    monkeypatch.chdir(tmp_path)
    assert main(["train", "-m", "seed=1,2"]) == 0
    (folder,) = (tmp_path / "outputs").iterdir()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_train_sweep", folder.name)
    assert times_run(folder) == {"seed_1": 1, "seed_2": 1}
