"""Gradient of single predictions to every declared layer that they depend on, and to no other."""

from functools import cache
from importlib.util import find_spec

import pytest
import torch

from detinv.detectors.hooks import capture_features, count_hooks
from detinv.errors import DetectorError
from tests.fakes import block_image
from tests.gradients import dependencies

if find_spec("ultralytics") is None:
    pytest.skip("needs ultralytics: pip install 'detinv[yolo]'", allow_module_level=True)

from detinv.detectors.ultralytics.load import load_ultralytics

STAGES = ["c1", "c2", "c3", "c4", "c5"]
LEVELS = ["p3", "p4", "p5"]
# Of each version: architecture, whether the one-to-one branch is used, and the layers that are backbone and neck.
VERSIONS = {
    "v8": ("yolov8n.yaml", False, [0, 2, 4, 6, 9, 15, 18, 21]),
    "v10": ("yolov10n.yaml", True, [0, 2, 4, 6, 10, 16, 19, 22]),
    "v11": ("yolo11n.yaml", False, [0, 2, 4, 6, 10, 16, 19, 22]),
    "v26": ("yolo26n.yaml", True, [0, 2, 4, 6, 10, 16, 19, 22]),
}


@cache
def captured(version):
    architecture, end_to_end, _ = VERSIONS[version]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        detector = load_ultralytics(architecture, class_names=["a", "b"], image_size=96, end_to_end=end_to_end)
    with capture_features(detector, detector.feature_layers()) as features:
        predictions = detector(block_image((64, 96))[None] / 255)
    assert count_hooks(detector) == 0
    return detector, predictions, features


@pytest.mark.parametrize("version", VERSIONS)
def test_stages_and_levels_are_declared(version):
    detector, _, features = captured(version)
    layers = {layer.name: layer for layer in detector.feature_layers()}
    assert list(layers) == [*STAGES, *LEVELS]
    assert [layer.module for layer in layers.values()] == [f"model.model.{number}" for number in VERSIONS[version][2]]
    for name, layer in layers.items():
        assert layer.stride == 2 ** int(name[1])
        assert features[name].shape == (1, layer.channels, 64 // layer.stride, 96 // layer.stride)


@pytest.mark.parametrize("version", VERSIONS)
def test_rows_depend_on_all_stages_and_on_the_levels_their_own_is_made_of(version):
    detector, predictions, features = captured(version)
    dense = predictions.dense
    levels = detector.row_levels(predictions)[0]
    assert [layer.name for layer in detector.level_layers()] == LEVELS
    for level, name in enumerate(LEVELS):
        row = int((levels == level).nonzero()[1])
        assert detector.layer_of_row(predictions, 0, row).name == name
        targets = [dense.logits[0, row, 1], dense.boxes()[0, row, 0]]
        if dense.bins is not None:
            targets.append(dense.bins[0, row, 2, 1])
        for target in targets:
            # The neck's coarser maps are made of its finer ones.
            assert dependencies(target, features) == {*STAGES, *LEVELS[: level + 1]}


def test_a_head_that_is_not_there():
    detector, predictions, _ = captured("v8")
    with pytest.raises(DetectorError, match="no head 'roi'"):
        detector.level_layers("roi")
    with pytest.raises(DetectorError, match="no head 'encoder'"):
        detector.row_levels(predictions, "encoder")
