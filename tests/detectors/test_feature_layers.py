"""Gradient of single predictions to every declared layer that they depend on, and to no other."""

from functools import cache

import pytest
import torch

from detinv.detectors.hooks import capture_features, count_hooks
from detinv.detectors.regions import Regions
from detinv.errors import DetectorError
from tests.fakes import block_image, tiny_detector
from tests.gradients import dependencies

ONE_STAGE, TWO_STAGE = ("retinanet", "fcos", "ssd"), ("fasterrcnn", "maskrcnn")
STAGES = ["c1", "c2", "c3", "c4", "c5"]
# A canvas large enough for regions on three levels of the pyramid.
LARGE, SMALL = 256, 64
REGIONS = Regions.of(torch.tensor([[[4.0, 6.0, 12.0, 14.0], [0.0, 0.0, 130.0, 130.0], [2.0, 0.0, 250.0, 252.0]]]))
REGION_LEVELS = ["p2", "p3", "p4"]


@cache
def detector(family):
    return tiny_detector(family)


@cache
def captured(family, side=SMALL):
    pixels = block_image((side, side))[None] / 255
    with capture_features(detector(family), detector(family).feature_layers()) as features:
        predictions = detector(family)(pixels, regions=REGIONS)
    return predictions, features


@pytest.mark.parametrize(
    ("family", "finest", "regions"),
    [
        ("retinanet", 3, []),
        ("fcos", 3, []),
        ("ssd", 3, []),
        ("fasterrcnn", 2, ["roi", "roi_head"]),
        ("maskrcnn", 2, ["roi", "roi_head", "mask_roi", "mask_head"]),
    ],
)
def test_stages_levels_and_regions_are_declared(family, finest, regions):
    layers = {layer.name: layer for layer in detector(family).feature_layers()}
    levels = [f"p{number}" for number in range(finest, 6)]
    assert list(layers) == [*STAGES, *levels, *regions]
    assert [layer.name for layer in detector(family).level_layers()] == levels
    _, features = captured(family)
    for name, layer in layers.items():
        assert features[name].shape[1] == layer.channels
        assert layer.per_region is (name in regions)
        if layer.per_region:
            assert layer.stride is None
        else:
            assert layer.stride == 2 ** int(name[1])
            assert features[name].shape[2:] == (SMALL / layer.stride, SMALL / layer.stride)
    assert count_hooks(detector(family)) == 0


@pytest.mark.parametrize("family", ONE_STAGE + TWO_STAGE)
def test_rows_of_a_dense_head_depend_on_all_stages_and_their_own_level(family):
    predictions, features = captured(family)
    dense = predictions.dense
    levels = detector(family).row_levels(predictions)[0]
    for level, layer in enumerate(detector(family).level_layers()):
        row = int((levels == level).nonzero()[1])
        assert detector(family).layer_of_row(predictions, 0, row) == layer
        targets = [dense.logits[0, row, 0], dense.boxes()[0, row, 2], dense.deltas[0, row, 1]]
        if dense.quality_logits is not None:
            targets.append(dense.quality_logits[0, row])
        for target in targets:
            assert dependencies(target, features) == {*STAGES, layer.name}


@pytest.mark.parametrize("family", TWO_STAGE)
def test_rows_of_a_second_stage_depend_on_their_region_alone(family):
    predictions, features = captured(family, LARGE)
    roi = predictions.roi
    levels = detector(family).row_levels(predictions, "roi")[0]
    assert levels[-len(REGION_LEVELS) :].tolist() == list(range(len(REGION_LEVELS)))
    for level in set(levels.tolist()):
        row = int((levels == level).nonzero()[-1])
        layer = detector(family).layer_of_row(predictions, 0, row, "roi")
        assert layer == detector(family).level_layers("roi")[level]
        for target in (roi.logits[0, row, 1], roi.deltas[0, row, 1, 0]):
            assert dependencies(target, features) == {*STAGES, layer.name, "roi", "roi_head"}
            for name in ("roi", "roi_head"):
                (gradient,) = torch.autograd.grad(target, features[name], retain_graph=True)
                assert gradient.flatten(1).any(1).nonzero()[:, 0].tolist() == [row]


def test_mask_logits_depend_on_their_region_alone():
    predictions, features = captured("maskrcnn", LARGE)
    for number, level in enumerate(REGION_LEVELS):
        target = predictions.roi.mask_logits[0, number, 1].sum()
        assert dependencies(target, features) == {*STAGES, level, "mask_roi", "mask_head"}
        for name in ("mask_roi", "mask_head"):
            (gradient,) = torch.autograd.grad(target, features[name], retain_graph=True)
            assert gradient.flatten(1).any(1).nonzero()[:, 0].tolist() == [number]


@pytest.mark.parametrize("family", TWO_STAGE)
def test_regions_of_a_batch_are_image_after_image(family):
    pixels = torch.stack([block_image((64, 64), seed) for seed in range(2)]) / 255
    regions = Regions.of(REGIONS.boxes.repeat(2, 1, 1))
    layers = [layer for layer in detector(family).feature_layers() if layer.name == "roi"]
    with capture_features(detector(family), layers) as features:
        roi = detector(family)(pixels, regions=regions).roi
    count = roi.rois.shape[1]
    (gradient,) = torch.autograd.grad(roi.logits[1, count - 1, 0], features["roi"])
    assert gradient.flatten(1).any(1).nonzero()[:, 0].tolist() == [2 * count - 1]


@pytest.mark.parametrize(("family", "head"), [("retinanet", "roi"), ("ssd", "encoder"), ("fasterrcnn", "encoder")])
def test_a_head_that_is_not_there(family, head):
    predictions, _ = captured(family)
    with pytest.raises(DetectorError, match=f"no head '{head}'"):
        detector(family).level_layers(head)
    with pytest.raises(DetectorError, match=f"no head '{head}'"):
        detector(family).row_levels(predictions, head)
