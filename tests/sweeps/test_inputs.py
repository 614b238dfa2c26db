"""A job's inputs are its options and the content of all that they name."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from detinv.sweeps.inputs import CONFIGURATION, inputs_of

OPTIONS = {
    "out_dir": "a",
    "logger": {"group": "b"},
    "seed": 1,
    "layout": {"path": "mine.yaml"},
    "detectors": ["shapes_fcos", "own.yaml", {"name": "x", "weights": "${detector_weights}"}],
    "detector_weights": "weights.pth",
    "images": "photos",
    "empty": "",
}


@pytest.fixture
def folder(monkeypatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("mine.yaml", "weights.pth", "names.txt", "photos/a.png", "unrelated.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("one")
    (tmp_path / "own.yaml").write_text("class_names: names.txt\nbase: own.yaml\n")
    return tmp_path


def inputs(**changes: object) -> dict[str, str]:
    return inputs_of(OmegaConf.create(OPTIONS | changes), {}, Path("study"))


def test_all_that_the_options_name_is_there(folder: Path):
    assert set(inputs()) == {CONFIGURATION, "mine.yaml", "own.yaml", "names.txt", "weights.pth", "photos"}


@pytest.mark.parametrize(
    ("file", "name"),
    [("mine.yaml", "mine.yaml"), ("weights.pth",) * 2, ("names.txt",) * 2, ("photos/a.png", "photos")],
)
def test_what_changed_is_named(folder: Path, file: str, name: str):
    before = inputs()
    (folder / "unrelated.txt").write_text("other")
    assert inputs() == before
    (folder / file).write_text("other")
    assert {key for key, value in inputs().items() if before[key] != value} == {name}


def test_options_count_but_for_where_a_job_lies_and_is_logged(folder: Path):
    assert inputs(out_dir="c", logger=None) == inputs()
    assert inputs(seed=2)[CONFIGURATION] != inputs()[CONFIGURATION]


@pytest.mark.parametrize("text", ["a: [", "a: &b 1\nc: *b", "\x00"])
def test_yaml_that_cannot_be_read_is_left_to_its_command(folder: Path, text: str):
    (folder / "own.yaml").write_text(text)
    assert "own.yaml" in inputs()
