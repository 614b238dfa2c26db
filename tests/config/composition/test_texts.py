"""Options that mean a text are the text that is typed, in every command, whatever else it reads as."""

from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from detinv.config.composition.compose import compose_config
from detinv.config.composition.texts import as_typed
from detinv.errors import ConfigError

READ_AS_SOMETHING_ELSE = (
    "5", "007", "1e3", "-1", "nan", "inf", "true", "No", "NULL", "2024_01_01", "2024-01-01", "1:30", "0x1f", "1.0",
    "epoch=3-step=10.ckpt", "a,b", "a b", "a [1] (2) {3}", "Bob's", "#1", "a:b", "a&b|c", "\u6f22\u5b57", "[a]", "x]",
    "(", "run(1)", "-rf", "%d", "a;b", "$a",
)  # fmt: skip
COMPLETE = {
    "bench": (),
    "check": (),
    "detect": ("images=.",),
    "diagnose": ("run=.",),
    "invert": (),
    "run": ("experiment=table1_transfer",),
    "train": (),
    "verify": (),
}


@pytest.mark.parametrize("text", READ_AS_SOMETHING_ELSE)
def test_hydra_reads_a_text_as_it_is_typed(text):
    (word,) = as_typed("invert", [f"out_dir={text}"], {})
    assert OverridesParser.create().parse_override(word).value() == text


@pytest.mark.parametrize("command", COMPLETE)
def test_out_dir_is_a_text_in_every_command(command):
    assert compose_config(command, [*COMPLETE[command], "out_dir=2024_01_01"]).out_dir == "2024_01_01"


@pytest.mark.parametrize(
    ("command", "words", "key"),
    [
        ("detect", (), "images"),
        ("detect", ("images=.",), "annotations"),
        *(
            pytest.param(*one, marks=pytest.mark.slow)
            for one in (
                ("check", (), "images"),
                ("diagnose", (), "run"),
                ("run", ("experiment=table1_transfer",), "images"),
                ("run", ("experiment=table1_transfer", "layout=coco"), "layout.annotations"),
            )
        ),
        ("invert", ("layout=file",), "layout.path"),
        ("invert", ("logger=tensorboard",), "logger.save_dir"),
    ],
)
def test_paths_are_texts(command, words, key):
    for text in ("1e3", "epoch=3, [1].json"):
        assert OmegaConf.select(compose_config(command, [*words, f"{key}={text}"]), key) == text


def test_names_and_weights_are_texts():
    words = ["detector=fasterrcnn_resnet50_fpn", "detector.weights=1e3", "logger.group=007", "logger.name=true"]
    config = compose_config("invert", words)
    assert (config.detector.weights, config.logger.group, config.logger.name) == ("1e3", "007", "true")
    joint = ["detector=[shapes_fcos,shapes_retinanet]", "detector.members.shapes_fcos.weights=5"]
    assert compose_config("invert", joint).detector.members.shapes_fcos.weights == "5"


def test_class_names_are_a_list_or_a_file():
    for detector in ("fasterrcnn_resnet50_fpn", "shapes_fcos"):
        words = [f"detector={detector}", "detector.class_names=[on,1e3,007,'a,b',traffic light]"]
        assert compose_config("detect", ["images=.", *words]).detector.class_names == [
            "on", "1e3", "007", "a,b", "traffic light"
        ]  # fmt: skip
        words = [f"detector={detector}", "detector.class_names=my=names.txt"]
        assert compose_config("detect", ["images=.", *words]).detector.class_names == "my=names.txt"


def test_lists_of_texts_keep_each():
    assert compose_config("verify", ["claims=[context,1e3]"]).claims == ["context", "1e3"]
    words = ["experiment=table1_transfer", "detectors=[1e3,{name: 5, weights: /a=3.pth, label: true, proposals: 9}]"]
    assert compose_config("run", words).detectors == [
        "1e3", {"name": "5", "weights": "/a=3.pth", "label": "true", "proposals": 9}
    ]  # fmt: skip


def test_null_is_nothing_and_numbers_are_numbers():
    config = compose_config("invert", ["layout=coco", "layout.annotations=5", "layout.count=5", "logger.name=null"])
    assert (config.layout.annotations, config.layout.count, config.logger.name) == ("5", 5, None)


def test_an_interpolation_in_a_text_is_one():
    assert compose_config("invert", ["seed=3", "out_dir=runs/${seed}=a"]).out_dir == "runs/3=a"


def test_a_text_that_could_be_several_is_asked_about(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ConfigError, match="lists several values; .* -m .*; if it is one: 'detector.weights=\"a,b.pth\"'"
    ):
        compose_config("invert", ["detector.weights=a,b.pth"])
    assert compose_config("invert", ["detector.weights='a,b.pth'"]).detector.weights == "a,b.pth"
    (tmp_path / "a,b.pth").touch()
    assert compose_config("invert", ["detector.weights=a,b.pth"]).detector.weights == "a,b.pth"


@pytest.mark.parametrize(
    "name",
    [
        "my det=1.yaml",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("a,b (2).yaml", "\u6f22.yaml", "[x].yaml")),
    ],
)
def test_files_of_one_s_own_have_any_name(name, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text(
        yaml.safe_dump({"name": "mine", "_target_": "detinv.detectors.load.assemble_detector"})
    )
    for written in (name, f"'{name}'"):
        assert compose_config("detect", ["images=.", f"detector={written}"]).detector.name == "mine"
    (tmp_path / name).write_text("steps: 7\n")
    assert compose_config("invert", [f"experiment={name}"]).steps == 7


def test_files_of_one_name_in_two_folders_are_two(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "same.yaml").write_text(f"steps: {number}\n")
    assert [compose_config("invert", [f"experiment={number}/same.yaml"]).steps for number in (1, 2)] == [1, 2]
