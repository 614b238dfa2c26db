"""A part of one's own is one Python file and one YAML file; nothing else is touched."""

import json
import sys
from pathlib import Path

import pytest
import yaml

from detinv.cli import main
from detinv.config.composition.compose import compose_config
from detinv.config.trust import trusting
from detinv.errors import ConfigError

FILES = {
    "smooth_of_the_test.py": """
from dataclasses import dataclass

from detinv.inversion.regularisers.base import AbstractRegulariser


@dataclass(frozen=True)
class Brightness(AbstractRegulariser):
    wanted: float = 0.0
    exact: int | None = None

    def __call__(self, pixels, mask):
        return ((pixels * mask).sum((1, 2, 3)) / (3 * mask.sum((1, 2, 3))) - self.wanted).square()
""",
    "brightness.yaml": """
brightness:
  _target_: smooth_of_the_test.Brightness
  weight: 2.0
  wanted: 0.25
  exact: null
""",
    "detector_of_the_test.py": """
from detinv.detectors.load import load_detector


def build(like="shapes_retinanet"):
    return load_detector(like)
""",
    "mine.yaml": "_target_: detector_of_the_test.build\nlike: shapes_fcos\n",
    "experiment_of_the_test.py": """
from detinv.experiments.common.base import AbstractExperiment
from detinv.results.reports.findings import Findings, Table


class Count(AbstractExperiment):
    title = "How many detectors there are"

    def __init__(self, factor: int = 1) -> None:
        self.factor = factor

    def run(self, bench):
        count = self.factor * len(bench.labels)
        return Findings({"count": count}, [Table("count", "Count", ("count",), [(count,)])])
""",
    "counting.yaml": """
detectors: [shapes_fcos, mine.yaml]
steps: 1
experiment:
  _target_: experiment_of_the_test.Count
  factor: 3
""",
}
QUIET = ("logger=none", "trainer.accelerator=cpu", "out_dir=out")
TRUSTED = "trust_config=true"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A folder of one's own, from which detinv is run."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in FILES:
        sys.modules.pop(Path(name).stem, None)


def test_a_regulariser_and_a_detector_take_part_in_an_inversion(folder):
    words = ("detector=mine.yaml", "regulariser=[total_variation,brightness.yaml]", "layout=world", "layout.count=1")
    assert main(["invert", *words, "steps=2", "preset.regularisers.brightness.wanted=0.5", TRUSTED, *QUIET]) == 0
    assert {"brightness", "total_variation"} <= set(
        (folder / "out" / "losses.csv").read_text().split("\n")[0].split(",")
    )
    config = yaml.safe_load((folder / "out" / "config.yaml").read_text())
    assert config["preset"]["regularisers"]["brightness"]["wanted"] == 0.5
    assert (config["detector"]["name"], config["detector"]["like"]) == ("mine", "shapes_fcos")


def test_an_experiment_is_run_by_the_path_of_its_file(folder):
    assert main(["run", "counting.yaml", "experiment.factor=5", TRUSTED, *QUIET]) == 0
    assert json.loads((folder / "out" / "numbers.json").read_text())["numbers"] == {"count": 10}


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("run", ["counting.yaml"]),
        ("invert", ["regulariser=brightness.yaml"]),
        ("invert", ["regulariser=[total_variation,brightness.yaml]"]),
        ("invert", ["detector=mine.yaml"]),
    ],
)
def test_code_of_one_s_own_is_run_only_where_it_is_trusted(command, words, folder, capsys):
    assert main([command, *words, *QUIET]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and TRUSTED in told
    assert not any(Path(name).stem in sys.modules for name in FILES) and not (folder / "out").exists()


def test_a_file_that_names_only_parts_of_detinv_needs_no_trust(folder):
    (folder / "strong.yaml").write_text(
        "total_variation:\n  _target_: detinv.inversion.regularisers.total_variation.TotalVariation\n  weight: 0.5\n"
    )
    with trusting(False):
        config = compose_config("invert", ["regulariser=strong.yaml"])
    assert config.preset.regularisers.total_variation.weight == 0.5


@pytest.mark.parametrize(
    ("word", "problem"),
    [
        ("preset.regularisers.brightness.wanted=high", "wanted='high': expected a number, such as its default 0.25"),
        ("preset.regularisers.brightness.exact=0.5", "exact=0.5: expected a whole number or null"),
        ("preset.regularisers.brightness.weight=null", "weight=null: expected a number, such as its default 2.0"),
    ],
)
def test_kinds_of_options_are_those_of_the_constructor_s_annotations(word, problem, folder):
    with pytest.raises(ConfigError, match=problem):
        compose_config("invert", ["regulariser=brightness.yaml", word])
    words = ["regulariser=brightness.yaml", "preset.regularisers.brightness.exact=3"]
    assert compose_config("invert", words).preset.regularisers.brightness.exact == 3


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("protocol:\n  _target_: a.b\n", "protocol is called experiment now; rename it"),
        (
            "experiment:\n  _target_: detinv.experiments.transfer.Transfer\n",
            r"'detinv.experiments.transfer.Transfer' has moved; write detinv\.experiments\.\w+\.transfer\.Transfer",
        ),
        ("preset:\n  _target_: detinv.inversion.recipe.Recipe\n", r"write detinv\.inversion\.preset\.Preset"),
        ("- a\n", "expected named values"),
        ("a: [\n", "cannot be read as YAML"),
    ],
)
def test_files_of_earlier_versions_say_in_one_line_what_to_change(text, problem, folder):
    (folder / "old.yaml").write_text(text)
    with trusting(False), pytest.raises(ConfigError, match=problem) as caught:
        compose_config("run", ["experiment=old.yaml"])
    assert str(caught.value).startswith("old.yaml: ") and "\n" not in str(caught.value)
