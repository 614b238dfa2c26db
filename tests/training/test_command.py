"""`detinv train` from its options to its files, on a tiny world."""

import json
import os
import shlex

import pytest
import torch
from safetensors.torch import load_file

from detinv import cli
from detinv.config.composition.compose import compose_config
from detinv.detectors.load import load_detector
from detinv.training.command import repeating_command
from detinv.zoo.weights import read_metadata

QUICK = [
    "steps=2",
    "batch_size=2",
    "steps_per_epoch=1",
    "workers=0",
    "precision=32-true",
    "accelerator=cpu",
    "data.image_size=[64,64]",
    "data.evaluation_scenes=3",
    "detector.model.image_size=[64,64]",
]


def train(out_dir, *overrides):
    return cli.main(["train", *QUICK, f"out_dir={out_dir}", *overrides])


def test_train_leaves_weights_card_and_metrics(tmp_path, capsys):
    out_dir = tmp_path / "run"
    assert train(out_dir, "model=shapes_maskrcnn") == 0
    told = capsys.readouterr().out
    assert "shapes_maskrcnn.safetensors" in told
    assert str(out_dir) in told

    metrics = json.loads((out_dir / "metrics.json").read_text())
    assert {"AP", "AP50", "mask_AP", "weight_hash", "versions"} <= set(metrics)
    assert (metrics["images"], metrics["steps"], metrics["name"]) == (3, 2, "shapes_maskrcnn")

    card = (out_dir / "shapes_maskrcnn.md").read_text()
    for part in ("detinv train model=shapes_maskrcnn", "MaskRCNN", "circle, square", "seed 2000000", "masks", "MIT"):
        assert part in card
    assert f"| parameters | {metrics['parameters']:,} |" in card
    assert metrics["weight_hash"] in card
    assert (out_dir / "config.yaml").is_file()
    assert not [path for path in out_dir.iterdir() if path.name.startswith(".")]

    weights = load_file(out_dir / "shapes_maskrcnn.safetensors")
    assert {value.dtype for value in weights.values() if value.ndim == 4} == {torch.float16}
    # The file can be used at once by whoever has it.
    assert load_detector("shapes_maskrcnn", out_dir / "shapes_maskrcnn.safetensors").has_masks


def test_a_full_disk_costs_no_weights(tmp_path, capsys, monkeypatch):
    assert train(tmp_path) == 0
    weights = tmp_path / "shapes_retinanet.safetensors"
    before = weights.read_bytes()

    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert train(tmp_path) == 2
    assert "shapes_retinanet.safetensors cannot be written: no space left" in capsys.readouterr().err
    assert weights.read_bytes() == before
    assert not [path.name for path in tmp_path.iterdir() if "tmp" in path.name or "partial" in path.name]


def command_of(*overrides: str) -> str:
    return repeating_command(compose_config("train", [*overrides, "out_dir=somewhere", "workers=0", "accelerator=cpu"]))


def test_the_card_and_the_weights_name_the_command_that_repeats_the_run(tmp_path):
    assert train(tmp_path, "seed=4", "data.seed=2") == 0
    (line,) = (
        line.strip() for line in (tmp_path / "shapes_retinanet.md").read_text().splitlines() if "    det" in line
    )
    assert line == read_metadata(tmp_path / "shapes_retinanet.safetensors")["command"]
    words = shlex.split(line)
    assert {"model=shapes_retinanet", "seed=4", "data.seed=2", "steps=2", "data.image_size=[64,64]"} <= set(words)
    here = ["out_dir=somewhere", "workers=0", "accelerator=cpu", "steps_per_epoch=1"]
    assert compose_config("train", [*words[2:], *here]) == compose_config(
        "train", [*QUICK, "seed=4", "data.seed=2", *here]
    )


def test_a_command_has_no_option_that_its_model_gives_already():
    assert command_of("model=shapes_fcos", "seed=0", "steps=2500") == "detinv train model=shapes_fcos"
    assert command_of("model=bccd_retinanet", "data.root=/my/own folder") == (
        "detinv train model=bccd_retinanet data.root=PATH"
    )
    assert command_of("model=shape_retinanet", "gradient_clip=null", "learning_rate=1e-3") == (
        "detinv train model=shape_retinanet gradient_clip=null learning_rate=0.001"
    )


def test_a_detector_with_a_name_of_its_own_is_found_by_its_options():
    assert command_of("model=shapes_fcos", "detector.name=mine") == "detinv train model=shapes_fcos detector.name=mine"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a finished run."""
    out_dir = tmp_path_factory.mktemp("trained")
    assert train(out_dir) == 0
    return out_dir


def test_a_finished_run_is_only_measured_again(trained, capsys):
    first = load_file(trained / "shapes_retinanet.safetensors")
    metrics = (trained / "metrics.json").read_text()
    assert train(trained) == 0
    assert "measuring only" in capsys.readouterr().out
    again = load_file(trained / "shapes_retinanet.safetensors")
    assert all(torch.equal(again[name], value) for name, value in first.items())
    assert (trained / "metrics.json").read_text() == metrics


def test_a_folder_of_another_training_is_refused(trained, capsys):
    card = (trained / "shapes_retinanet.md").read_text()
    assert train(trained, "seed=5") == 2
    assert "seed was 0, is 5; choose another out_dir" in capsys.readouterr().err
    assert (trained / "shapes_retinanet.md").read_text() == card


def test_a_training_that_diverges_is_one_line_and_leaves_no_weights(tmp_path, capsys):
    assert train(tmp_path, "steps=12", "learning_rate=1e9", "gradient_clip=null") == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "the training diverged" in told
    assert not list(tmp_path.glob("*.safetensors"))


@pytest.mark.parametrize("folder", ["file", "file/inside"])
def test_an_out_dir_that_is_a_file_is_one_line(folder, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert train(tmp_path / folder) == 2
    told = capsys.readouterr()
    assert told.err.count("\n") == 1
    assert "out_dir" in told.err
    assert (tmp_path / "file").read_text() == "mine"
