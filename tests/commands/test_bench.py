"""`detinv bench`: what is written and said, and mistakes told in one line."""

import json
import re

import pytest
import torch

from detinv.cli import main
from detinv.commands import bench
from detinv.config.folders import config_dir

pytestmark = pytest.mark.weights

SMALL = ["rounds=2", "steps_per_round=1", "warmup=0", "batch_sizes=[1]"]


def figures(folder, name):
    return json.loads((folder / f"bench_{name}.json").read_text())


def test_step_measures_every_detector_and_batch_size(tmp_path, capsys):
    words = ["detector=[shapes_retinanet,shapes_fcos]", "layout.count=2", *SMALL[:3], "batch_sizes=[1,2]"]
    assert main(["bench", "step", f"out_dir={tmp_path}", *words]) == 0
    found = figures(tmp_path, "step")
    assert [(one["detector"], one["batch_size"]) for one in found["results"]] == [
        ("shapes_retinanet", 1),
        ("shapes_retinanet", 2),
        ("shapes_fcos", 1),
        ("shapes_fcos", 2),
    ]
    assert found["machine"]["threads"] == torch.get_num_threads()
    assert torch.__version__.startswith(found["machine"]["versions"]["torch"])
    said = capsys.readouterr().out
    assert "shapes_fcos, batch 2:" in said
    assert "bench_step.json" in said
    assert (tmp_path / "config.yaml").is_file()


@pytest.mark.slow
def test_reference_compares_with_the_plain_loop(tmp_path, capsys):
    words = ["layout.count=1", "preset=code_retinanet", *SMALL]
    assert main(["bench", "reference", f"out_dir={tmp_path}", *words]) == 0
    found = figures(tmp_path, "reference")["results"]
    assert set(found["seconds"]) == {"step", "reference", "unmodified"}
    assert found["image_size"] == [128, 128]
    assert "times as long" in capsys.readouterr().out


@pytest.mark.slow
def test_inversion_lets_presets_and_the_plain_loop_race(tmp_path, capsys):
    options = {
        "preset": "default",
        "steps": 2,
        "against_steps": 1,
        "reference_steps": 1,
        "layouts": 1,
        "every": 1,
        "repeats": 1,
    }
    words = [f"inversion.{name}={value}" for name, value in options.items()]
    assert main(["bench", "inversion", f"out_dir={tmp_path}", "layout.count=1", *words]) == 0
    found = figures(tmp_path, "inversion")["results"]["contestants"]
    assert list(found) == ["default", "paper", "the plain loop"]
    assert [len(one["progress"][0]) for one in found.values()] == [2, 1, 1]
    assert "default: AP 90 after ? steps" in capsys.readouterr().out


def test_a_preset_races_against_itself_with_another_number_of_steps(tmp_path):
    options = {"preset": "fast", "against": "fast", "steps": 2, "against_steps": 1, "reference_steps": 0}
    words = [f"inversion.{name}={value}" for name, value in (options | {"layouts": 1, "repeats": 1}).items()]
    assert main(["bench", "inversion", f"out_dir={tmp_path}", "layout.count=1", *words]) == 0
    found = figures(tmp_path, "inversion")["results"]["contestants"]
    assert {name: one["progress"][0][-1][0] for name, one in found.items()} == {"fast, 2 steps": 2, "fast, 1 steps": 1}


def test_a_detector_that_the_plain_loop_cannot_invert_is_refused_before_the_race(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("detinv.benchmarks.inversion.race", lambda *arguments, **options: pytest.fail("raced"))
    words = ["detector=shapes_fcos", "layout.count=1", "inversion.layouts=1"]
    assert main(["bench", "inversion", f"out_dir={tmp_path / 'out'}", *words]) == 2
    assert "inverts a RetinaNet" in capsys.readouterr().err


@pytest.mark.slow
def test_scaling_and_memory_write_their_figures(tmp_path):
    words = ["layout.count=1", "batch_sizes=[1]", "scaling.processes=[]", "scaling.steps=1", "scaling.rounds=1"]
    assert main(["bench", "scaling", f"out_dir={tmp_path}", *words]) == 0
    assert figures(tmp_path, "scaling")["results"]["by_batch_size"][0]["batch_size"] == 1
    words = ["layout.count=1", "memory.batch_size=1", "memory.steps=2", "memory.batches=1"]
    assert main(["bench", "memory", f"out_dir={tmp_path}", *words]) == 0
    assert figures(tmp_path, "memory")["results"]["peak"] > 0


def test_attribute_compares_maps_with_passes_of_the_bare_network(tmp_path, capsys):
    options = {"objects": 1, "questions": "[class,left]", "masks": 2, "steps": 1, "rounds": 2, "warmup": 0}
    words = [f"attribute.{name}={value}" for name, value in options.items()]
    assert main(["bench", "attribute", f"out_dir={tmp_path}", *words, "attribute.peers=false"]) == 0
    (found,) = figures(tmp_path, "attribute")["results"]
    assert found["network_size"] == [128, 128]
    assert found["difference"] <= 1e-5
    assert {"forward", "forward_backward", "odam", "loop", "default", "d_rise"} <= set(found["costs"])
    assert all(one["cpu_seconds"] > 0 for one in found["costs"].values())
    said = capsys.readouterr().out
    assert "1 objects x 2 questions, 2 masks" in said
    assert "odam / forward_backward: " in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["steps"], r"unknown benchmark 'steps'.*did you mean.*step"),
        (["step", "rounds=1"], "rounds=1: choose at least 2"),
        (["step", "precision=16-true"], "precision=16-true: choose one of 32-true"),
        (["step", "batch_sizes=[]"], r"batch_sizes=\[\]: give whole numbers"),
        (["step", "batch_sizes=[0]"], r"batch_sizes=\[0\]: give whole numbers"),
        (["step", "layout.count=2"], "only 2 layouts, not 8"),
        (
            ["memory", "detector=[shapes_retinanet,shapes_fcos]"],
            "several detectors are for detinv bench step and attribute",
        ),
        (["inversion", "inversion.repeats=0"], "repeats=0: choose at least 1"),
        (["inversion", "inversion.steps=0"], "inversion.steps=0: choose a whole number"),
        (["inversion", "inversion.against_steps=1.5"], "inversion.against_steps=1.5: choose a whole number"),
        (["inversion", "inversion.against=fast", "layout.count=8"], "are both fast, with as many steps"),
        (["reference", "detector=shapes_fcos", *SMALL], "inverts a RetinaNet"),
        (["attribute", "attribute.masks=0"], "masks=0: choose at least 2"),
        (["attribute", "attribute.masks=3"], "masks=3: choose an even number"),
        (["attribute", "attribute.image_size=[64]"], r"image_size=\[64\]: give 2 numbers"),
        (["attribute", "attribute.questions=[colour]"], "colour"),
        (["step", "device=nowhere"], "device=nowhere"),
    ],
)
def test_mistakes_are_told_in_one_line_and_leave_no_folder(tmp_path, capsys, words, message):
    folder = tmp_path / "out"
    assert main(["bench", f"out_dir={folder}", *words]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert re.search(message, said)
    assert not folder.exists()


def test_every_benchmark_is_named_in_the_configuration():
    text = (config_dir() / "bench.yaml").read_text()
    for name in bench._BENCHMARKS:
        assert f"# {name}: " in text
        assert f"detinv bench {name}" in text
