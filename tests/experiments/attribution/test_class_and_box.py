"""Figures 6 and 7: what a run measures, keeps and refuses."""

import math
from dataclasses import dataclass

import pytest
import torch

from detinv.attribution.methods.base import PREDICTING, ActivationMethod
from detinv.detectors.load import load_detector
from detinv.errors import ConfigError
from detinv.experiments.attribution import class_and_box
from detinv.experiments.attribution.class_and_box import ClassAndBox, boundary_band
from detinv.worlds.sources import WorldLayouts
from tests.experiments.setups import setup_of


def setup(out_dir):
    made = setup_of(out_dir, ["part_retinanet"], source=WorldLayouts(world="part", count=8))
    made.detectors["part_retinanet"] = load_detector("part_retinanet")
    return made


@pytest.fixture(autouse=True)
def _own_detectors(monkeypatch):
    # `setup_of` makes tiny detectors of the families that it is given.
    monkeypatch.setattr("tests.experiments.setups.tiny_detector", lambda family: load_detector(family))


@pytest.mark.slow
def test_a_class_is_read_in_its_patch_and_a_box_along_its_outline(tmp_path, monkeypatch):
    experiment = ClassAndBox(objects=8, examples=1)
    findings = experiment.run(setup(tmp_path))
    found = findings.numbers["detectors"]["part_retinanet"]
    measures, verdicts = found["measures"], [claim["verdict"] for claim in found["claims"]]
    assert found["objects"] == 8
    # Both along the outline and spread, and what is left without the patch or with it alone.
    assert verdicts == ["holds"] * 4
    assert measures["box_band"].low > measures["class_band"].high
    assert measures["without_attributed"].high < measures["without_opposite"].low <= measures["score"].high
    assert [figure.name for figure in findings.figures] == ["maps_part_retinanet"]

    monkeypatch.setattr(class_and_box, "curves_of", lambda *args: pytest.fail("it is finished"))
    assert experiment.run(setup(tmp_path)).numbers == findings.numbers


@dataclass(frozen=True)
class Nothing(ActivationMethod):
    """Maps that are zero everywhere, as those of Grad-CAM are where all that it finds speaks against the answer."""

    layers: tuple[str, ...] = (PREDICTING,)

    def layer_map(self, features, gradients, boxes):
        return torch.zeros_like(gradients[:, 0])


def test_measures_that_maps_without_energy_do_not_have_are_left_out(tmp_path):
    experiment = ClassAndBox(objects=2, examples=0)
    experiment.method = Nothing()
    for _ in range(2):  # measured, then read back
        found = experiment.run(setup(tmp_path)).numbers["detectors"]["part_retinanet"]
        assert found["objects"] == 2
        assert math.isnan(found["measures"]["class_band"].value)
        assert math.isfinite(found["measures"]["only_attributed"].value)
        assert [claim["n"] for claim in found["claims"]] == [0, 0, 2, 2]


def test_the_band_lies_on_both_sides_of_the_outline():
    band = boundary_band((10.0, 10.0, 30.0, 20.0), (40, 40))
    expected = torch.zeros(40, 40, dtype=torch.bool)
    expected[9:21, 8:32] = True
    expected[11:19, 12:28] = False
    assert torch.equal(band, expected)


@pytest.mark.parametrize("options", [{"shown": ["clas"]}, {"shown": []}, {"objects": 0}, {"method": "odamm"}])
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(ConfigError):
        ClassAndBox(**options)
