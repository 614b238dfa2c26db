"""Gradient of single predictions to every declared layer that they depend on, and to no other."""

import pytest
import torch

from detinv.detectors.hooks import capture_features, count_hooks
from detinv.detectors.regions import Regions
from detinv.errors import DetectorError
from tests.fakes import block_image
from tests.gradients import dependencies

pytest.importorskip("detectron2", reason="needs Detectron2, see its own guide")

from tests.detectors.detectron2.slim import slim_detector

pytestmark = pytest.mark.detectron2

ONE_STAGE, TWO_STAGE = ("retinanet", "fcos"), ("fasterrcnn", "maskrcnn")
STAGES = ["c1", "c2", "c3", "c4", "c5"]
# A canvas large enough for regions on three levels of the pyramid, and cells on all of them.
SIDE = 256
REGIONS = Regions.of(torch.tensor([[[4.0, 6.0, 12.0, 14.0], [0.0, 0.0, 130.0, 130.0], [2.0, 0.0, 250.0, 252.0]]]))
REGION_LEVELS = ["p2", "p3", "p4"]


@pytest.fixture(scope="module")
def captured(tmp_path_factory):
    found = {}

    def capture(family):
        if family not in found:
            detector = slim_detector(tmp_path_factory.mktemp(family), family)
            with capture_features(detector, detector.feature_layers()) as features:
                predictions = detector(block_image((SIDE, SIDE))[None] / 255, regions=REGIONS)
            assert count_hooks(detector) == 0
            found[family] = detector, predictions, features
        return found[family]

    return capture


@pytest.mark.parametrize(
    ("family", "levels", "regions"),
    [
        ("retinanet", (3, 7), []),
        ("fcos", (3, 7), []),
        ("fasterrcnn", (2, 6), ["roi", "roi_head"]),
        ("maskrcnn", (2, 6), ["roi", "roi_head", "mask_roi", "mask_head"]),
    ],
)
def test_stages_levels_and_regions_are_declared(captured, family, levels, regions):
    detector, _, features = captured(family)
    layers = {layer.name: layer for layer in detector.feature_layers()}
    assert list(layers) == [*STAGES, *(f"p{number}" for number in range(levels[0], levels[1] + 1)), *regions]
    for name, layer in layers.items():
        assert features[name].shape[1] == layer.channels
        assert layer.per_region is (name in regions)
        if not layer.per_region:
            assert layer.stride == 2 ** int(name[1])
            assert features[name].shape[2:] == (SIDE / layer.stride, SIDE / layer.stride)


@pytest.mark.parametrize("family", ONE_STAGE + TWO_STAGE)
def test_rows_of_a_dense_head_depend_on_all_stages_and_their_own_level(captured, family):
    detector, predictions, features = captured(family)
    dense = predictions.dense
    levels = detector.row_levels(predictions)[0]
    # What the top of each pyramid is made of: the levels below it that are returned as well.
    made_of = {"p6": {"p5"} if family in ("fcos", *TWO_STAGE) else set(), "p7": {"p6"}}
    for level, layer in enumerate(detector.level_layers()):
        row = int((levels == level).nonzero()[0])
        assert detector.layer_of_row(predictions, 0, row) == layer
        wanted = {*STAGES, layer.name}
        for name in ("p7", "p6"):
            wanted |= made_of[name] if name in wanted else set()
        for target in (dense.logits[0, row, 0], dense.boxes()[0, row, 2], dense.deltas[0, row, 1]):
            assert dependencies(target, features) == wanted


@pytest.mark.parametrize("family", TWO_STAGE)
def test_rows_of_a_second_stage_depend_on_their_region_alone(captured, family):
    detector, predictions, features = captured(family)
    roi = predictions.roi
    levels = detector.row_levels(predictions, "roi")[0]
    assert levels[-len(REGION_LEVELS) :].tolist() == list(range(len(REGION_LEVELS)))
    for level in set(levels.tolist()):
        row = int((levels == level).nonzero()[-1])
        layer = detector.layer_of_row(predictions, 0, row, "roi")
        for target in (roi.logits[0, row, 1], roi.deltas[0, row, 1, 0]):
            assert dependencies(target, features) == {*STAGES, layer.name, "roi", "roi_head"}
            (gradient,) = torch.autograd.grad(target, features["roi"], retain_graph=True)
            assert gradient.flatten(1).any(1).nonzero()[:, 0].tolist() == [row]


def test_mask_logits_depend_on_their_region_alone(captured):
    _, predictions, features = captured("maskrcnn")
    for number, level in enumerate(REGION_LEVELS):
        target = predictions.roi.mask_logits[0, number, 1].sum()
        assert dependencies(target, features) == {*STAGES, level, "mask_roi", "mask_head"}


def test_a_head_that_is_not_there(captured):
    for family, head in (("retinanet", "roi"), ("fcos", "encoder"), ("fasterrcnn", "encoder")):
        with pytest.raises(DetectorError, match=f"no head '{head}'"):
            captured(family)[0].level_layers(head)
