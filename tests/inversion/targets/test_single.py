"""One target candidate: only it has a gradient, its probability rises, and it stops where it is sure enough."""

from dataclasses import replace

import pytest
import torch

from detinv.detectors.candidates import read_candidates
from detinv.detectors.regions import Regions
from detinv.errors import ConfigError
from detinv.experiments.common.central import targeted_rows
from detinv.inversion.callbacks.pseudo_targets import PseudoTargets
from detinv.inversion.objective.objective import TERM_NAMES, Objective
from detinv.inversion.preset import load_preset
from detinv.inversion.run import invert
from detinv.inversion.targets.base import Targets
from detinv.inversion.targets.single import SingleObjectRule
from detinv.layouts.batch import LayoutBatch
from detinv.layouts.layout import Layout
from tests.fakes import FAMILIES, block_image, tiny_detector

EVERYTHING = Objective(dict.fromkeys(TERM_NAMES, 1.0))
LAYOUTS = [
    Layout(torch.tensor([[20.0, 18.0, 46.0, 44.0]]), torch.tensor([2]), (64, 64), "one"),
    Layout(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), (64, 64), "none"),
    Layout(torch.tensor([[4.0, 4.0, 24.0, 30.0], [36.0, 30.0, 60.0, 60.0]]), torch.tensor([0, 1]), (64, 64), "two"),
]


def compared(detector, rule, objective=EVERYTHING):
    """Predictions with a gradient at every output, their targets, and the objective's terms."""
    batch = LayoutBatch.collate(LAYOUTS)
    pixels = torch.stack([block_image((64, 64), seed) for seed in range(3)]).float() / 255
    predictions = detector(pixels.requires_grad_(), batch.image_sizes, Regions(batch.boxes, batch.valid))
    for output in predictions.outputs():
        output.retain_grad()
    targets = PseudoTargets(rule, load_preset("default").matching).build("x", predictions.detach(), batch, Targets())
    terms = objective.detector_terms(predictions, targets)
    objective.total(terms).sum().backward()
    return predictions, targets, terms


def gradient(output):
    return torch.zeros_like(output) if output.grad is None else output.grad


@pytest.mark.parametrize("family", ["retinanet", "fcos", "ssd"])
def test_one_logit_of_one_row_has_a_gradient_for_each_object(family):
    rule = SingleObjectRule(enough=1.0)
    predictions, targets, _ = compared(tiny_detector(family), rule)
    dense, batch = predictions.dense, LayoutBatch.collate(LAYOUTS)
    assigned = dense.head.assigner.assign(dense.head.anchors, dense.head.level_sizes, batch.boxes, batch.valid)
    wanted = torch.zeros_like(dense.logits, dtype=torch.bool)
    rows = torch.zeros_like(dense.logits[..., 0], dtype=torch.bool)
    for image, layout in enumerate(LAYOUTS):
        for slot, label in enumerate(layout.labels.tolist()):
            row = assigned.candidates[image, slot, 0]
            wanted[image, row, label] = rows[image, row] = True
    assert (gradient(dense.logits)[wanted] < 0).all()
    assert not gradient(dense.logits)[~wanted].any()
    assert not gradient(dense.deltas).any()
    if dense.quality_logits is not None:
        assert (gradient(dense.quality_logits)[rows] < 0).all()
        assert not gradient(dense.quality_logits)[~rows].any()
    assert targets.dense.positive_rows[0, 0] == assigned.candidates[0, 0, 0]


@pytest.mark.parametrize("family", ["fasterrcnn", "maskrcnn"])
def test_only_the_objects_own_regions_and_anchors_have_a_gradient(family):
    predictions, _, terms = compared(tiny_detector(family), SingleObjectRule(enough=1.0))
    roi, dense, batch = predictions.roi, predictions.dense, LayoutBatch.collate(LAYOUTS)
    classes = gradient(roi.logits)
    assert not classes[:, : -roi.given].any()
    for image, layout in enumerate(LAYOUTS):
        for slot in range(roi.given):
            row = classes[image, roi.logits.shape[1] - roi.given + slot]
            if slot >= len(layout):
                assert not row.any()
                continue
            label = int(layout.labels[slot])
            # A softmax lowers all other classes, background among them, by raising one.
            assert row[label] < 0
            assert (row[[k for k in range(len(row)) if k != label]] > 0).all()
    assert not gradient(roi.deltas).any()
    assert "roi_mask" not in terms
    assigned = dense.head.assigner.assign(dense.head.anchors, dense.head.level_sizes, batch.boxes, batch.valid)
    best = torch.zeros_like(dense.logits[..., 0], dtype=torch.bool)
    for image, layout in enumerate(LAYOUTS):
        best[image, assigned.candidates[image, : len(layout), 0]] = True
    assert (gradient(dense.logits)[..., 0][best] < 0).all()
    assert not gradient(dense.logits)[..., 0][~best].any()
    assert not gradient(dense.deltas).any()


def test_the_class_term_is_the_mean_cross_entropy_of_the_objects():
    predictions, _, terms = compared(tiny_detector("fasterrcnn"), SingleObjectRule(enough=1.0))
    logs = predictions.roi.logits[:, -predictions.roi.given :].log_softmax(-1)
    assert terms["roi_cls"][0].item() == pytest.approx(-logs[0, 0, 2].item(), rel=1e-5)
    assert terms["roi_cls"][1] == 0
    assert terms["roi_cls"][2].item() == pytest.approx(-(logs[2, 0, 0] + logs[2, 1, 1]).item() / 2, rel=1e-5)


@pytest.mark.parametrize("family", [*FAMILIES, "ssd"])
def test_a_candidate_that_is_sure_enough_is_left_alone(family):
    predictions, _, _ = compared(tiny_detector(family), SingleObjectRule(enough=1e-9))
    outputs = {"classes": predictions.dense.logits}
    if predictions.roi is not None:
        outputs["regions"] = predictions.roi.logits
    assert not any(gradient(output).any() for output in outputs.values())


@pytest.mark.parametrize(
    "family",
    ["retinanet", "fasterrcnn", *(pytest.param(name, marks=pytest.mark.slow) for name in ("fcos", "maskrcnn"))],
)
def test_the_target_probability_rises(family):
    detector, layout = tiny_detector(family), LAYOUTS[0]
    preset = load_preset("default")
    preset = replace(preset, rule=SingleObjectRule(), objective=preset.objective.only(["positive", "roi_cls"]))
    found = []
    for steps in (0, 12):
        images = invert(detector, [layout], preset, steps=steps, trainer={"accelerator": "cpu"}, progress=False).images
        rows = targeted_rows(detector, preset, images, [layout])
        read = read_candidates(detector, images[0], layout.boxes, layout.labels, None if rows is None else rows[0])
        found.append(float(read.class_scores[0, 2]))
    assert found[1] > found[0] + 0.02


@pytest.mark.parametrize("enough", [0.0, 1.2, -1.0])
def test_probabilities_that_mean_nothing_are_refused(enough):
    with pytest.raises(ConfigError, match="enough"):
        SingleObjectRule(enough)
