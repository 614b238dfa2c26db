"""The table of methods and measures: what a run counts, writes, keeps and refuses."""

import csv
from dataclasses import replace

import pytest

from detinv.attribution.metrics.preset import load_preset
from detinv.detectors.load import load_detector
from detinv.errors import ConfigError
from detinv.experiments.attribution import explain_methods
from detinv.experiments.attribution.explain_methods import ExplainMethods
from detinv.worlds.sources import WorldLayouts
from tests.experiments.setups import setup_of

METHODS = ("default", "grad_cam", "control_uniform")
PRESET = load_preset("default")
PRESET = replace(PRESET, perturbation=replace(PRESET.perturbation, steps=2))


def setup(out_dir):
    source = WorldLayouts(world="part", count=3)
    made = setup_of(out_dir, ["part_retinanet"], source=source)
    made.detectors["part_retinanet"] = load_detector("part_retinanet")
    return made


@pytest.fixture
def experiment():
    counts = {"objects": 2, "per_image": 1, "randomised_images": 1, "examples": 1}
    return ExplainMethods(PRESET, METHODS, randomised=["grad_cam"], **counts)


@pytest.fixture(autouse=True)
def _own_detectors(monkeypatch):
    # `setup_of` makes tiny detectors of the families that it is given.
    monkeypatch.setattr("tests.experiments.setups.tiny_detector", lambda family: load_detector(family))


def test_a_run_measures_every_method_and_is_not_repeated(tmp_path, experiment, monkeypatch):
    findings = experiment.run(setup(tmp_path))
    found = findings.numbers["detectors"]["part_retinanet"]
    assert (found["objects"], found["images"]) == (2, 2)
    assert found["counts"]["explained"] == found["objects"]
    assert found["methods"]["default"]["energy_box"].value > found["methods"]["control_uniform"]["energy_box"].value
    assert found["methods"]["default"]["insertion"].low > found["methods"]["control_uniform"]["insertion"].high
    with (tmp_path / "objects.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == found["objects"] * len(METHODS)
    assert {row["method"] for row in rows} == set(METHODS)
    tables = {table.name: table for table in findings.tables}
    assert [row[1] for row in tables["methods"].rows] == list(METHODS)
    assert [row[0] for row in tables["faithfulness_part_retinanet"].rows] == list(METHODS)
    assert {row[1] for row in tables["differences"].rows} == set(METHODS[1:])
    claims = {row[0]: row[3] for row in tables["controls_part_retinanet"].rows}
    assert claims["insertion of default is above that of control_uniform"] == "holds"
    assert any("grad_cam" in claim for claim in claims)
    assert {figure.name for figure in findings.figures} == {"randomised_part_retinanet", "maps_part_retinanet"}
    assert "departure 1" not in findings.decided

    monkeypatch.setattr(explain_methods, "judge", lambda *args: pytest.fail("it is finished"))
    monkeypatch.setattr(explain_methods, "randomised_similarities", lambda *args: pytest.fail("it is finished"))
    again = experiment.run(setup(tmp_path))
    assert again.numbers["detectors"]["part_retinanet"]["methods"] == found["methods"]


@pytest.mark.slow
def test_a_detector_that_finds_nothing_leaves_the_others_their_report(tmp_path, experiment):
    made = setup_of(tmp_path, ["part_retinanet", "part_fasterrcnn"], source=WorldLayouts(world="part", count=1))
    made.detectors["part_retinanet"] = load_detector("part_retinanet", "random")
    findings = experiment.run(made)
    found = findings.numbers["detectors"]
    assert (found["part_retinanet"]["objects"], found["part_fasterrcnn"]["objects"]) == (0, 1)
    assert found["part_retinanet"]["claims"] == [] and found["part_fasterrcnn"]["claims"]
    assert {figure.name for figure in findings.figures} == {"randomised_part_fasterrcnn", "maps_part_fasterrcnn"}
    again = experiment.run(made)
    assert again.numbers["detectors"]["part_retinanet"]["claims"] == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"methods": []}, "name at least one"),
        ({"methods": ["default", "default"]}, "each once"),
        ({"methods": ["odem"]}, "did you mean 'odam'"),
        ({"objects": 0}, "at least 1"),
        ({"options": {"default": {"masks": 3}}}, "options.default"),
    ],
)
def test_mistakes_get_one_line(options, said):
    with pytest.raises(ConfigError, match=said):
        ExplainMethods(PRESET, **{"methods": METHODS, **options})
