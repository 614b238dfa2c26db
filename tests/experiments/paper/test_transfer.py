"""Table 1: whose numbers stand where, and what is summed up."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import detinv
from detinv.detectors.base import AbstractDetector
from detinv.experiments.common.setup import ExperimentSetup
from detinv.experiments.paper.transfer import JOINT, NOISE, PAPER, PAPER_COLUMNS, REAL, Transfer, summary
from detinv.inversion.preset import load_preset
from detinv.worlds.sources import WorldLayouts


def bench(out_dir: Path, *labels: str, **options) -> ExperimentSetup:
    source = options.pop("source", WorldLayouts("plain", count=4))
    return ExperimentSetup(out_dir, labels, source, load_preset(), steps=1, trainer={"accelerator": "cpu"}, **options)


class Renumbered(AbstractDetector):
    """Another detector's inference, with its classes numbered the other way round."""

    def __init__(self, detector: AbstractDetector) -> None:
        super().__init__()
        self.detector = detector
        self.class_names = tuple(reversed(detector.class_names))
        self.detections_per_image = detector.detections_per_image

    def network_size(self, image_size):
        return self.detector.network_size(image_size)

    def forward(self, pixels, image_sizes=None, regions=None):
        raise AssertionError("a judge only detects")

    def detect(self, images):
        return [replace(one, labels=len(self.class_names) - 1 - one.labels) for one in self.detector.detect(images)]


def test_a_judge_with_other_class_numbers_finds_the_same(tmp_path):
    one = bench(tmp_path, "shapes_retinanet", "turned")
    one.detectors["turned"] = Renumbered(detinv.load_detector("shapes_retinanet"))
    for label in one.labels:
        images, layouts = one.photographs(label)
        names = one.detector(label).class_names
        judged = Transfer()._judged(one, f"of_{label}", images, layouts, names)
        assert judged["shapes_retinanet"]["AP"] > 70
        assert judged["turned"]["AP"] == judged["shapes_retinanet"]["AP"]
        assert judged["turned"]["AP/star"] == judged["shapes_retinanet"]["AP/star"]


def test_rows_are_asked_for_what_their_name_says(tmp_path, monkeypatch):
    """Boxes alone without the mask term, boxes and masks with it, the start images, all at once, the photographs."""
    source = WorldLayouts("plain", count=2)
    one, asked = bench(tmp_path, "shapes_retinanet", "shapes_maskrcnn", source=source), {}

    def invert(key, label, layouts, preset=None, steps=None):
        asked[key] = (label, layouts[0].masks is not None, (preset or one.preset).objective.weights, steps)
        return [torch.zeros(3, *layout.image_size, dtype=torch.uint8) for layout in layouts]

    monkeypatch.setattr(one, "invert", invert)
    monkeypatch.setattr(
        one,
        "invert_jointly",
        lambda key, layouts: invert(key, "both", layouts),  # noqa: ARG005
    )
    findings = Transfer(joint=True).run(one)
    rows = ["shapes_retinanet", "shapes_maskrcnn-b", "shapes_maskrcnn-m", JOINT, NOISE, REAL]
    assert [row[0] for row in findings.tables[0].rows] == rows == list(findings.numbers["AP"])
    assert {key: (label, masks, steps) for key, (label, masks, _, steps) in asked.items()} == {
        "shapes_retinanet": ("shapes_retinanet", False, None),
        "shapes_maskrcnn-b": ("shapes_maskrcnn", False, None),
        "shapes_maskrcnn-m": ("shapes_maskrcnn", True, None),
        "joint": ("both", True, None),
        NOISE: ("shapes_retinanet", True, 0),
    }
    weights = one.preset.objective.weights
    assert asked["shapes_maskrcnn-m"][2] == asked["shapes_retinanet"][2] == weights and "roi_mask" in weights
    assert asked["shapes_maskrcnn-b"][2] == {name: value for name, value in weights.items() if name != "roi_mask"}

    columns = ("shapes_retinanet", "shapes_maskrcnn, boxes", "shapes_maskrcnn, masks")
    assert findings.tables[0].columns == ("inverted by", *columns)
    # Black images show nothing to anyone, scenes show nearly everything.
    for row, values in findings.numbers["AP"].items():
        assert list(values) == list(columns)
        assert all(value > 50 if row == REAL else value == 0 for value in values.values())
    assert findings.numbers["summary"] == {"diagonal": 0, "least_diagonal": 0, "off_diagonal": 0}


def test_references_can_be_left_out(tmp_path):
    findings = Transfer(references=False).run(
        bench(tmp_path, "shapes_retinanet", source=WorldLayouts("plain", count=1))
    )
    assert list(findings.numbers["AP"]) == ["shapes_retinanet"]
    assert findings.numbers["layouts"] == 1


def test_summary_is_over_single_detectors_and_boxes():
    labels, prefixes = ["a", "b", "b"], ["", "", "mask_"]
    matrix = {
        "a": [90.0, 10.0, 1.0],
        "b-b": [20.0, 80.0, 2.0],
        "b-m": [None, 70.0, 60.0],
        "all at once": [99.0, 99.0, 99.0],
        "noise": [0.0, 0.0, 0.0],
    }
    assert summary(matrix, labels, prefixes) == {
        "diagonal": (90 + 80 + 70) / 3,
        "least_diagonal": 70,
        "off_diagonal": (10 + 20) / 2,
    }


def test_summary_of_nothing_is_nan():
    assert all(math.isnan(value) for value in summary({"noise": [1.0]}, ["a"], [""]).values())
    found = summary({"a": [50.0]}, ["a"], [""])
    assert found["diagonal"] == 50 and math.isnan(found["off_diagonal"])


def test_the_paper_s_own_numbers_have_their_diagonal_highest():
    """Copied numbers: in every row the inverted detector reads best, masks only where they were asked for."""
    own = {"Retina": 0, "Faster": 1, "Mask-b": 2, "Mask-m": 2, "FCOS": 4}
    for row, values in PAPER.items():
        assert len(values) == len(PAPER_COLUMNS) == 5
        boxes = [value for column, value in enumerate(values) if column != 3]
        assert values[own[row]] == max(boxes) > 90
        assert (values[3] > 30) == (row == "Mask-m")


@pytest.mark.parametrize("joint", [False, True])
def test_mistakes_show_before_anything_is_inverted(tmp_path, monkeypatch, joint):
    one = bench(tmp_path, "shapes_retinanet", "bccd_retinanet")
    monkeypatch.setattr(one, "invert", lambda *args, **kwargs: pytest.fail("inverted"))
    with pytest.raises(detinv.errors.LayoutError, match="unknown class 'circle' .the detector knows RBC"):
        Transfer(joint=joint).run(one)


@pytest.mark.slow
def test_two_processes_give_the_same_numbers(tmp_path):
    words = ["layout.count=3", "steps=2", "batch_size=2", "detectors=[shapes_retinanet, shapes_fcos]", "logger=none"]
    for devices in (1, 2):
        command = [sys.executable, "-m", "detinv", "run", "table1_transfer", *words, "trainer.accelerator=cpu"]
        command += [f"trainer.devices={devices}", f"out_dir={tmp_path / str(devices)}"]
        subprocess.run(command, check=True, timeout=240, capture_output=True)
    one, two = (json.loads((tmp_path / name / "numbers.json").read_text()) for name in ("1", "2"))
    for told in (one, two):
        told["about"].pop("seconds")
    assert one == two
