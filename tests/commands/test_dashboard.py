"""A run in the dashboard: what is logged, and how it ends."""

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb
from omegaconf import OmegaConf
from pytorch_lightning.loggers import Logger, TensorBoardLogger

from detinv.cli import main
from detinv.commands.dashboard import dashboard, numbers_of
from detinv.errors import ConfigError
from detinv.runtime.loggers import Dashboard, wandb_logger

CONFIG = OmegaConf.create({"steps": 3, "layout": {"count": 2}})


class Recorder(Logger):
    """A logger that remembers what happened to it."""

    name, version = "recorder", "1"

    def __init__(self) -> None:
        super().__init__()
        self.events = []

    def log_hyperparams(self, params, *args, **kwargs):
        self.events.append(("config", params))

    def log_metrics(self, metrics, step=None):
        self.events.append(("metrics", metrics))

    def finalize(self, status):
        self.events.append(("end", status))


def test_configuration_is_told_first_and_success_last():
    logger = Recorder()
    with dashboard(logger, CONFIG) as board:
        assert board.loggers == [logger]
        board.log({"a": 1.0, "none": math.nan})
    told = {"steps": 3, "layout": {"count": 2}}
    assert logger.events == [("config", told), ("metrics", {"a": 1.0}), ("end", "success")]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_whatever_stops_the_run_closes_it_as_failed(error):
    logger = Recorder()
    with pytest.raises(error), dashboard(logger, CONFIG):
        raise error
    assert logger.events[-1] == ("end", "failed")


def test_no_dashboard_is_no_logger():
    with dashboard(None, CONFIG) as board:
        assert not board


def test_numbers_are_finite_and_named_by_their_place():
    values = {
        "AP": {"a": {"b": 91.5, "c": None}, "d": math.nan},
        "n": 3,
        "endless": -math.inf,
        "text": "words",
        "list": [1, 2],
        "half": np.float64(0.5),
    }
    assert numbers_of(values) == {"AP/a/b": 91.5, "n": 3, "half": 0.5}
    assert numbers_of({"x": 1}, "final/") == {"final/x": 1}


def test_figures_reach_a_logger_that_shows_any(tmp_path: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    picture = np.zeros((6, 9, 3), np.uint8)
    logger = TensorBoardLogger(tmp_path)
    for name in ("first", "second"):
        Dashboard([logger]).show(name, picture)
    logger.finalize("success")
    found = EventAccumulator(logger.log_dir).Reload()
    assert found.Tags()["images"] == ["first", "second"]
    assert (found.Images("first")[0].height, found.Images("first")[0].width) == (6, 9)
    # Others are passed over.
    Dashboard([Recorder()]).show("first", picture)


@pytest.mark.parametrize("where", ["log_hyperparams", "log_metrics", "finalize"])
def test_a_logger_that_fails_is_left_alone_and_the_run_goes_on(where: str, monkeypatch, caplog):
    def fail(*args, **kwargs):
        raise ConnectionError("no route to host")

    broken, working = Recorder(), Recorder()
    monkeypatch.setattr(broken, where, fail)
    board = Dashboard([broken, working])
    for _ in range(3):
        board.tell(lambda one: one.log_hyperparams({}))
        board.log({"a": 1.0})
        board.tell(lambda one: one.finalize("success"))
    assert board.loggers == [working]
    assert [kind for kind, _ in working.events] == ["config", "metrics", "end"] * 3
    assert caplog.text.count("no route to host") == 1
    with dashboard(broken, CONFIG) as board:
        board.log({"a": 1.0})


@pytest.mark.parametrize("error", [wandb.errors.CommError, TimeoutError, RuntimeError])
def test_without_a_way_to_the_service_the_run_is_kept_offline(error, tmp_path: Path, monkeypatch, caplog):
    begin, modes = wandb.init, []

    def unreachable(**options):
        modes.append(options["mode"])
        if options["mode"] == "online":
            raise error("connection refused")
        return begin(**options)

    monkeypatch.setattr(wandb, "init", unreachable)
    logger = wandb_logger(tmp_path, offline=False)
    logger.experiment.finish()
    assert modes == ["online", "offline"]
    assert "connection refused" in caplog.text
    assert list((tmp_path / "wandb").glob("offline-run-*"))


def test_a_dashboard_that_cannot_begin_costs_no_run(tmp_path: Path, monkeypatch, caplog):
    def fail(**options):
        raise FileNotFoundError(2, "No such file or directory", "wandb-core")

    monkeypatch.setattr(wandb, "init", fail)
    for offline in (True, False):
        assert wandb_logger(tmp_path, offline=offline) is None
    assert caplog.text.count("this one has no dashboard") == 2
    assert "wandb-core" in caplog.text


def test_names_that_the_service_does_not_take_are_a_mistake(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"logger: .*a/b.*logger=none"):
        wandb_logger(tmp_path, project="a/b", offline=True)


def test_such_names_are_told_before_there_is_a_folder(tmp_path: Path, capsys):
    assert main(["invert", "layout=plain", "logger.project=a/b", f"out_dir={tmp_path / 'out'}"]) == 2
    assert "Invalid project name 'a/b'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_earlier_run_that_cannot_be_ended_does_not_keep_the_next_from_beginning(tmp_path, monkeypatch, caplog):
    class Stuck:
        def finish(self, exit_code):
            raise TimeoutError("no answer")

    begun = served(monkeypatch)
    monkeypatch.setattr(wandb, "run", Stuck())
    wandb_logger(tmp_path, offline=True).experiment.finish()
    assert len(begun) == 1
    assert "no answer" in caplog.text


def test_the_end_of_a_run_does_not_wait_for_a_network_that_is_gone(tmp_path: Path, monkeypatch):
    begun = served(monkeypatch)
    wandb_logger(tmp_path, offline=False).experiment.finish()
    assert 0 < begun[0]["settings"].finish_timeout <= 600


def test_an_id_that_a_full_disk_cut_off_is_made_again(tmp_path: Path, monkeypatch):
    begun = served(monkeypatch)
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "run_id").touch()
    wandb_logger(tmp_path, offline=False).experiment.finish()
    assert len(begun[0]["id"]) == 8


@pytest.mark.parametrize("said", [{"offline": False}, {"WANDB_MODE": "online"}])
def test_a_run_that_goes_on_in_its_folder_goes_on_in_the_dashboard(tmp_path: Path, monkeypatch, said):
    begun = served(monkeypatch)
    monkeypatch.setenv("WANDB_MODE", said.get("WANDB_MODE", "offline"))
    for folder in ("a", "b", "a"):
        wandb_logger(tmp_path / folder, offline=said.get("offline")).experiment.finish()
    first, other, again = begun
    assert first["id"] == again["id"] != other["id"]
    assert len(first["id"]) == 8
    assert {one["resume"] for one in begun} == {"allow"}


@pytest.mark.parametrize("said", ["WANDB_RUN_ID", "WANDB_SWEEP_ID"])
def test_a_run_that_others_have_named_keeps_its_name(tmp_path: Path, monkeypatch, said):
    begun = served(monkeypatch)
    monkeypatch.setenv(said, "theirs")
    wandb_logger(tmp_path, offline=False).experiment.finish()
    assert [(one["id"], one["resume"]) for one in begun] == [(None, None)]


def test_offline_runs_are_begun_anew(tmp_path: Path, monkeypatch):
    """`wandb sync` would put the second one in the place of the first."""
    begun = served(monkeypatch)
    for _ in range(2):
        wandb_logger(tmp_path, offline=True).experiment.finish()
    assert [(one["id"], one["resume"]) for one in begun] == [(None, None)] * 2
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 2


@pytest.mark.parametrize("home", [None, "a file", "a folder"])
def test_without_a_home_the_service_keeps_its_log_in_the_folder_of_the_run(tmp_path: Path, monkeypatch, home):
    for name in ("XDG_CACHE_HOME", "WANDB_CACHE_DIR", "HOME"):
        monkeypatch.delenv(name, raising=False)
    if home is not None:
        monkeypatch.setenv("HOME", str(tmp_path / home))
        (tmp_path / "a file").touch()
    places = []
    monkeypatch.setattr(wandb, "init", lambda **options: places.append(os.environ.get("WANDB_CACHE_DIR")))
    wandb_logger(tmp_path / "out", offline=True)
    assert places == [None if home == "a folder" else str(tmp_path / "out")]
    assert "WANDB_CACHE_DIR" not in os.environ


def served(monkeypatch) -> list[dict[str, Any]]:
    """What W&B is asked for; every run it begins is one without a service."""
    begun: list[dict[str, Any]] = []
    real = wandb.init

    def begin(**options):
        begun.append(options)
        return real(**{**options, "mode": "offline", "id": None, "resume": None})

    monkeypatch.setattr(wandb, "init", begin)
    return begun
