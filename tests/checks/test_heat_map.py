"""A detector that keeps the local maxima of a heat map, from its adapter to its inversions and its errors."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from detinv import explain_errors, invert
from detinv.attribution.mistakes.cases import worst_cases
from detinv.attribution.mistakes.crowding import Crowding, crowding
from detinv.attribution.mistakes.kinds import Kind
from detinv.attribution.mistakes.stages import Stage
from detinv.checks.adapter import check_adapter
from detinv.checks.detections import raw_predictions_are_the_inference
from detinv.checks.finding import Finding
from detinv.checks.trial import AdapterTrial
from detinv.inversion.preset import load_preset
from detinv.layouts.layout import Layout
from tests.heat_map import CELLS, SIDE, STRIDE, TinyCenterNet, fitted_detector, lively_network, scene


def compared(detector: TinyCenterNet) -> Finding:
    """What becomes of the claim that raw predictions, post-processed, are its inference."""
    return raw_predictions_are_the_inference(AdapterTrial(detector, load_preset(), ((SIDE, SIDE),) * 4, 1, 0, ()))


def test_a_right_adapter_holds_everything():
    found = check_adapter(TinyCenterNet(lively_network()), load_preset(), ((SIDE, SIDE),), steps=4)
    assert [verdict for verdict in found if verdict.holds is not True] == []


@pytest.mark.parametrize(
    "declared", [{"peak_kernel": 5}, {"peak_kernel": None}, {"peak_kernel": None, "nms_thresh": 0.5}]
)
def test_other_constants_than_those_of_the_inference_fail_and_are_named(declared):
    found = compared(TinyCenterNet(lively_network(), **declared))
    assert found.holds is False
    assert found.advice.endswith("PostProcessing(nms_thresh=None, peak_kernel=3) declares")


@pytest.mark.slow
def test_a_fitted_detector_holds_everything():
    found = check_adapter(fitted_detector(), load_preset(), ((SIDE, SIDE),), steps=4)
    assert [verdict for verdict in found if verdict.holds is not True] == []


@pytest.mark.slow
def test_inversions_reach_their_layouts():
    generator = torch.Generator().manual_seed(11)
    layouts = [replace(scene(generator)[1], id=str(number)) for number in range(4)]
    found = invert(fitted_detector(), layouts, steps=80, progress=False).metrics
    assert found["objects"] >= 5
    assert found["redetected"] == found["objects"] and found["false_positives"] == 0
    assert found["AP50"] > 95


class Written(nn.Module):
    """Returns one heat map, offsets and sides for every image."""

    def __init__(self, cells: dict[tuple[int, int], tuple[int, float, tuple[float, float]]]) -> None:
        super().__init__()
        heat, self.offset = torch.full((1, 3, CELLS, CELLS), -6.0), torch.full((1, 2, CELLS, CELLS), 0.5)
        self.sides = torch.full((1, 2, CELLS, CELLS), 3.0)
        for (y, x), (label, score, sides) in cells.items():
            heat[0, label, y, x] = torch.tensor(score).logit()
            self.sides[0, :, y, x] = torch.tensor(sides)
        self.heat = heat

    def forward(self, pixels):
        return tuple(each.expand(len(pixels), -1, -1, -1) for each in (self.heat, self.offset, self.sides))


def box(y: int, x: int, width: float, height: float) -> list[float]:
    return [
        STRIDE * (x + 0.5 + side * width / 2) if axis == 0 else STRIDE * (y + 0.5 + side * height / 2)
        for side in (-1, 1)
        for axis in (0, 1)
    ]


def test_errors_name_the_neighbour_that_suppressed():
    # The cell with the object's box is beaten by the one to its right, whose box is another.
    cells = {(6, 6): (1, 0.8, (4.0, 4.0)), (6, 7): (1, 0.9, (12.0, 2.0)), (6, 5): (2, 0.95, (1.0, 1.0))}
    detector = TinyCenterNet(Written(cells))
    truth = Layout(torch.tensor([box(6, 6, 4, 4)]), torch.tensor([1]), (SIDE, SIDE), "one")
    report = explain_errors(detector, [torch.zeros(3, SIDE, SIDE, dtype=torch.uint8)], [truth])
    (one,) = report.images
    assert one.judged.objects == [Kind.BADLY_PLACED]
    (loss,) = one.losses
    assert loss.stage == Stage.NO_MAXIMUM and loss.limit == 3
    assert loss.nearest.row == 6 * CELLS + 6 and loss.nearest.score == pytest.approx(0.8)
    assert loss.suppressor.row == 6 * CELLS + 7 and loss.suppressor.score == pytest.approx(0.9)
    assert one.found.labels[loss.suppressor.detection] == 1
    assert report.entries()[0]["objects"][0]["suppressor"]["row"] == 6 * CELLS + 7


def test_the_sentence_about_a_missed_object_says_why():
    cells = {(6, 6): (1, 0.8, (4.0, 4.0)), (6, 7): (1, 0.9, (20.0, 0.5))}
    truth = Layout(torch.tensor([box(6, 6, 4, 4)]), torch.tensor([1]), (SIDE, SIDE), "one")
    report = explain_errors(TinyCenterNet(Written(cells)), [torch.zeros(3, SIDE, SIDE, dtype=torch.uint8)], [truth])
    (missed,) = [case for case in worst_cases(report, 5) if case.title == "Missed green: no local maximum"]
    assert missed.sentence == (
        "The best prediction with its box (IoU 1.00), green 0.80, was suppressed by detection 1, green 0.90: only the "
        "best of 3 x 3 cells is kept."
    )


def test_objects_of_one_class_in_neighbouring_cells_are_crowded():
    centres = torch.tensor([[10.0, 10], [14, 10], [40, 10], [44, 10], [10, 40], [18, 40]])
    labels = torch.tensor([0, 0, 0, 1, 2, 2])
    layout = Layout(torch.cat([centres - 1, centres + 1], 1), labels, (SIDE, SIDE), "one")
    predictions = TinyCenterNet(Written({}))(torch.zeros(1, 3, SIDE, SIDE))
    assert crowding(predictions, layout) == [Crowding.SUPPRESSED] * 2 + [Crowding.ALONE] * 4
