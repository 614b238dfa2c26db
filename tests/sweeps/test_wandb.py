"""The file for `wandb sweep`: what its agents would run is what detinv understands."""

import itertools

import pytest
import yaml

from detinv.commands import execute
from detinv.config.folders import experiment_dir
from detinv.config.help import experiments

FILE = experiment_dir() / "sweeps" / "wandb.yaml"


def words_of(sweep, values):
    """The words an agent of W&B makes of one point of the grid, put together as it does."""
    # Two seconds that a run without this test need not spend.
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    macros = create_sweep_command_args({"args": {key: {"value": value} for key, value in values.items()}})
    macros |= {"program": [sweep["program"]], "env": ["/usr/bin/env"]}
    words = []
    for word in create_sweep_command(list(sweep["command"])):
        words += macros[word[2:-1]] if word.startswith("${") and word.endswith("}") else [word]
    return words


@pytest.mark.slow
def test_every_run_of_the_grid_is_a_command_with_a_folder_of_its_own():
    sweep = yaml.safe_load(FILE.read_text())
    assert sweep["method"] == "grid"
    axes = {key: entry["values"] for key, entry in sweep["parameters"].items()}
    folders = set()
    for values in itertools.product(*axes.values()):
        point = dict(zip(axes, values, strict=True))
        env, program, command, *overrides = words_of(sweep, point)
        assert (env, program, command) == ("/usr/bin/env", "detinv", "invert")
        config = execute.check_command(command, overrides)
        assert (config.detector.name, config.seed) == (point["detector"], point["seed"])
        assert config.logger.offline is False
        folders.add(config.out_dir)
    assert len(folders) == len(list(itertools.product(*axes.values())))


def test_it_is_no_preset():
    assert FILE.is_file()
    assert "wandb" not in {experiment.name for experiment in experiments()}
