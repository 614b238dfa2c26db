"""Every experiment of `detinv run` says what it shows."""

import pytest

from detinv.config.composition.compose import compose_config
from detinv.config.help import experiments
from detinv.config.instantiate import instantiate
from detinv.experiments.common.base import AbstractExperiment


@pytest.mark.parametrize("name", [experiment.name for experiment in experiments() if experiment.for_run])
def test_every_one_is_an_experiment_with_a_title(name):
    config = compose_config("run", [f"experiment={name}"])
    experiment = instantiate(config.experiment)
    assert isinstance(experiment, AbstractExperiment)
    assert experiment.title.strip() and "\n" not in experiment.title
    assert config.detectors


def test_an_experiment_must_say_how_it_runs():
    with pytest.raises(TypeError, match="abstract"):
        type("Half", (AbstractExperiment,), {"title": "half"})()
