"""A run in the dashboard: what is told, and how it ends."""

import math
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from pytorch_lightning.loggers import Logger, TensorBoardLogger

from detinv.commands.dashboard import dashboard, log_figures, numbers_of

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
    with dashboard(logger, CONFIG) as loggers:
        assert loggers == [logger]
        loggers[0].log_metrics({"a": 1.0})
    told = {"steps": 3, "layout": {"count": 2}}
    assert logger.events == [("config", told), ("metrics", {"a": 1.0}), ("end", "success")]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_whatever_stops_the_run_closes_it_as_failed(error):
    logger = Recorder()
    with pytest.raises(error), dashboard(logger, CONFIG):
        raise error
    assert logger.events[-1] == ("end", "failed")


def test_no_dashboard_is_no_logger():
    with dashboard(None, CONFIG) as loggers:
        assert loggers == []


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
    log_figures(logger, {"first": picture, "second": picture})
    logger.finalize("success")
    found = EventAccumulator(logger.log_dir).Reload()
    assert found.Tags()["images"] == ["first", "second"]
    assert (found.Images("first")[0].height, found.Images("first")[0].width) == (6, 9)
    # Others are passed over.
    log_figures(Recorder(), {"first": picture})
