"""What `--help` tells of a command: every value that can be overridden, its default and its comment."""

import pytest
import yaml
from omegaconf import OmegaConf

from detinv import cli
from detinv.config.composition.compose import compose_config, composed_values
from detinv.config.folders import config_dir
from detinv.config.help import Experiment, Option, experiments, groups, options, render


def test_help_of_a_detector_shows_the_preset_that_suits_it():
    values = {name: composed_values("invert", [f"detector={name}"]) for name in ("nanodet_m", "shapes_fcos")}
    assert "preset.objective.shapes_every" in values["nanodet_m"].keys() - values["shapes_fcos"].keys()


def test_help_shows_groups_values_and_comments():
    text = render(config_dir(), "train")
    assert "[shapes_retinanet]" in text
    assert "batch_size=16" in text
    assert "images per update" in text
    assert "detinv train model=bccd_retinanet data.root=PATH" in text
    assert "_target_" not in text


def test_help_of_a_choice_shows_that_choice():
    text = render(config_dir(), "train", {"model": "bccd_fasterrcnn"})
    assert "data.root=(required)" in text
    assert "detector.name=bccd_fasterrcnn" in text
    assert "batch_size=8" in text


def test_help_knows_all_values_that_can_be_overridden():
    """Every leaf of the composed configuration is listed, so that suggestions can find it, and little else."""
    config = compose_config("train")
    listed = {option.key for option in options(config_dir(), "train")}

    def leaves(node, prefix=""):
        for key, value in node.items():
            if key.startswith("_"):
                continue
            if isinstance(value, dict) and value:
                yield from leaves(value, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}"

    composed = set(leaves(yaml.safe_load(OmegaConf.to_yaml(config))))
    assert composed <= listed
    left_out = listed - composed
    assert left_out == {
        f"detector.{name}"
        for name in ("model.lively_head", "trust_weights", "options", "colour_covariance", "contrast")
    }


def test_options_are_read_from_yaml_with_their_comments(tmp_path):
    (tmp_path / "job.yaml").write_text(
        "# Does a job.\ndefaults:\n  - _self_\n  - kind: b\nsteps: 3  # how many\n"
        "nested:\n  sizes: [1, 2]\n  name: '#1'\nempty: {}\nlast: ???  # must be given\n"
    )
    (tmp_path / "kind").mkdir()
    (tmp_path / "kind" / "a.yaml").write_text("weight: 1.0\n")
    (tmp_path / "kind" / "b.yaml").write_text("# b\n_target_: x.y\nweight: 2.0  # of b\n")
    assert [group.choices for group in groups(tmp_path, "job")] == [("a", "b")]
    found = options(tmp_path, "job")
    assert found == [
        Option("steps", "3", "how many"),
        Option("nested.sizes", "[1, 2]", ""),
        Option("nested.name", "#1", ""),
        Option("empty", "{}", ""),
        Option("last", "???", "must be given"),
        Option("kind.weight", "2.0", "of b"),
    ]
    assert [option.key for option in found if option.required] == ["last"]
    assert options(tmp_path, "job", {"kind": "a"})[-1] == Option("kind.weight", "1.0", "")


def test_experiments_are_read_with_their_summaries(experiment_folder):
    (experiment_folder / "b.yaml").write_text(
        "# @package _global_\n#\n# Figure 9: more.\n# More.\nexperiment:\n  a: 1\n"
    )
    (experiment_folder / "a.yaml").write_text("steps: 3\n# not at the head\n")
    assert experiments() == [Experiment("a", "", False), Experiment("b", "Figure 9: more.", True)]


def test_help_of_run_lists_experiments_and_that_of_invert_the_others(capsys):
    assert cli.main(["run", "--help"]) == 0
    text = capsys.readouterr().out
    assert "usage: detinv run EXPERIMENT [group" in text
    section = text.split("experiments (detinv run NAME):\n")[1].split("\n\n")[0].splitlines()
    assert any(line.split()[0] == "table1_transfer" and "Table 1: inversion transfer" in line for line in section)
    assert not any("diagonal_plain" in line for line in section)
    assert cli.main(["invert", "--help"]) == 0
    section = capsys.readouterr().out.split("experiments (experiment=NAME):\n")[1].split("\n\n")[0]
    assert "diagonal_plain" in section and "table1_transfer" not in section


@pytest.mark.parametrize("word", ["table1_transfer", "experiment=table1_transfer"])
def test_help_of_an_experiment_shows_its_values(word, capsys):
    assert cli.main(["run", "layout=texture", word, "--help"]) == 0
    lines = {line.split("=")[0].strip(): line for line in capsys.readouterr().out.splitlines() if "=" in line}
    assert lines["experiment.joint"].split()[0] == "experiment.joint=false"
    assert "optimiser updates of each image" in lines["steps"] and lines["steps"].split()[0] == "steps=100"
    assert lines["layout.count"].strip() == "layout.count=16"
    assert lines["layout.world"].split()[0] == "layout.world=plain"
    assert "shapes_retinanet" in lines["detectors"]


def test_help_of_an_experiment_knows_all_values_that_can_be_overridden():
    config = yaml.safe_load(OmegaConf.to_yaml(compose_config("run", ["experiment=table1_transfer", "logger=none"])))
    listed = {
        option.key for option in options(config_dir(), "run", {"experiment": "table1_transfer", "logger": "none"})
    }
    assert set(config["experiment"]) - {"_target_"} == {
        key.removeprefix("experiment.") for key in listed if key.startswith("experiment.")
    }
    assert {key for key in config if not isinstance(config[key], dict)} - {"logger"} <= listed
