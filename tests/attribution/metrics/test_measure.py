"""All maps of an image are measured, a few of them in memory at a time."""

from dataclasses import replace

import pytest
import torch

from detinv.attribution import measure
from detinv.attribution.core.objects import annotated_objects
from detinv.attribution.core.questions import as_questions
from detinv.attribution.explain import explain_image
from detinv.attribution.load import load_method
from detinv.attribution.measure import measures_of
from detinv.attribution.metrics.base import Truth
from detinv.attribution.metrics.preset import load_preset, measured
from tests.fakes import block_image, tiny_detector

BOXES = torch.tensor([[4.0, 6.0, 40.0, 50.0], [20.0, 8.0, 60.0, 30.0], [2.0, 2.0, 30.0, 20.0]])


def test_measures_of_one_object_at_a_time_are_those_of_all_together(monkeypatch):
    detector, image, preset = tiny_detector("fcos"), block_image((64, 64)), load_preset("default")
    preset = replace(preset, perturbation=replace(preset.perturbation, steps=5))
    objects = annotated_objects(detector, image, BOXES, torch.tensor([0, 2, 1]))
    questions = as_questions(["class", "left"], None, detector.class_names)
    explained = explain_image(detector, image, objects, questions, {"odam": load_method("odam")})
    names = preset.chosen(["pointing", "energy", "discrimination", "insertion"])

    heats = torch.stack([one.heat() for one in explained.attributions]).unflatten(0, (3, 2))
    truths = [
        Truth(tuple(box.tolist()), torch.cat([BOXES[:number], BOXES[number + 1 :]])) for number, box in enumerate(BOXES)
    ]
    together = measured(preset, names, detector, image, objects, truths, heats, 3)

    sizes = []

    def noted(*values):
        sizes.append(tuple(values[6].shape))
        return measured(*values)

    monkeypatch.setattr(measure, "measured", noted)
    alone = measures_of(explained, detector, image, objects, None, preset, names, 3)
    assert sizes == [(1, 2, 64, 64)] * 3
    for one, other in zip(alone, [each for mine in together for each in mine], strict=True):
        assert one == pytest.approx(other, abs=1e-5, nan_ok=True)
