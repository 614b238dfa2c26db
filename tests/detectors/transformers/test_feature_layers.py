"""Gradient of single predictions to every declared layer that they depend on, and to no other."""

from functools import cache
from importlib.util import find_spec

import pytest
import torch

from detinv.detectors.hooks import capture_features, count_hooks
from tests.fakes import block_image
from tests.gradients import dependencies
from tests.transformers_fakes import LIKE_RTDETR as RTDETR
from tests.transformers_fakes import tiny_transformer

if find_spec("transformers") is None:
    pytest.skip("needs transformers: pip install 'detinv[detr]'", allow_module_level=True)

STAGES = ["c1", "c2", "c3", "c4", "c5"]
ONE_MAP = ("detr_resnet50", "table_transformer", "conditional_detr_r50", "dab_detr_r50")
# Layers of the others, with the stride of each and whether it belongs to a level.
OTHERS = {
    "deformable_detr_r50": ({**{f"c{k}": 2**k for k in range(1, 6)}, "p3": 8, "p4": 16, "p5": 32, "p6": 64}, ["p3"]),
    "yolos_tiny": ({"p4": 16}, ["p4"]),
    "lw_detr_small": ({"p3": 8, "p4": 16}, ["p3", "p4"]),
    "rf_detr_base": ({"p3": 8}, ["p3"]),
}


@cache
def captured(architecture):
    detector = tiny_transformer(architecture)
    layers, hooks = detector.feature_layers(), count_hooks(detector)
    with capture_features(detector, layers) as features:
        predictions = detector(block_image((64, 96))[None] / 255)
    assert count_hooks(detector) == hooks
    return detector, predictions, features


@pytest.mark.parametrize(
    ("architecture", "neck"),
    [
        *((architecture, ["p5", "encoder"]) for architecture in ONE_MAP),
        *((architecture, ["p3", "p4", "p5"]) for architecture in RTDETR),
    ],
)
def test_stages_and_what_the_queries_attend_to_are_declared(architecture, neck):
    detector, _, features = captured(architecture)
    layers = {layer.name: layer for layer in detector.feature_layers()}
    assert list(layers) == [*STAGES, *neck]
    for name, layer in layers.items():
        feature = features[name]
        stride = 32 if name == "encoder" else 2 ** int(name[1])
        assert layer.stride == stride
        assert feature.shape[layer.channel_axis] == layer.channels
        cells = (64 // stride, 96 // stride)
        assert layer.tokens is (name == "encoder")
        assert feature.shape[1 : 2 + layer.tokens - 1] == ((cells[0] * cells[1],) if layer.tokens else ())
        assert layer.tokens or feature.shape[2:] == cells


@pytest.mark.parametrize("architecture", OTHERS)
def test_every_query_of_the_others_depends_on_all_layers(architecture):
    """On a level of the finest queries' own at least; the coarsest map of a tiny image may be a single cell."""
    detector, predictions, features = captured(architecture)
    strides, levels = OTHERS[architecture]
    assert {layer.name: layer.stride for layer in detector.feature_layers()} == strides
    assert [layer.name for layer in detector.level_layers()] == levels
    rows = len(predictions.dense.logits[0])
    for row in (0, rows // 2, rows - 1):
        assert detector.layer_of_row(predictions, 0, row).name in levels
        for target in (predictions.dense.logits[0, row, 1], predictions.dense.boxes()[0, row, 0]):
            assert dependencies(target, features) == set(strides)


@pytest.mark.parametrize("architecture", ["lw_detr_small", "rf_detr_base"])
def test_a_token_of_a_projector_depends_on_its_own_level_alone(architecture):
    detector, predictions, features = captured(architecture)
    levels = detector.row_levels(predictions, "encoder")[0]
    for level, layer in enumerate(detector.level_layers("encoder")):
        row = int((levels == level).nonzero()[0])
        assert dependencies(predictions.encoder.logits[0, row, 1], features) == {layer.name}
        (gradient,) = torch.autograd.grad(
            predictions.encoder.logits[0, row, 1], features[layer.name], retain_graph=True
        )
        assert gradient.any(1).sum() == 1
    for row, token in enumerate(predictions.dense.identities[0].tolist()):
        assert int(detector.row_levels(predictions)[0, row]) == int(token >= 8 * 12)


@pytest.mark.parametrize("architecture", ONE_MAP)
def test_every_query_of_detr_depends_on_all_layers(architecture):
    detector, predictions, features = captured(architecture)
    everything = {layer.name for layer in detector.feature_layers()}
    for row in (0, 17, 39):
        assert detector.layer_of_row(predictions, 0, row).name == "encoder"
        for target in (predictions.dense.logits[0, row, 1], predictions.dense.boxes()[0, row, 0]):
            assert dependencies(target, features) == everything


@pytest.mark.parametrize("architecture", RTDETR)
def test_every_query_of_rtdetr_depends_on_all_layers(architecture):
    detector, predictions, features = captured(architecture)
    levels = detector.row_levels(predictions)[0]
    sizes = [8 * 12, 4 * 6, 2 * 3]
    for row, token in enumerate(predictions.dense.identities[0].tolist()):
        assert levels[row] == next(level for level in range(3) if token < sum(sizes[: level + 1]))
    everything = {layer.name for layer in detector.feature_layers()}
    for level, layer in enumerate(detector.level_layers()):
        row = int((levels == level).nonzero()[0])
        assert detector.layer_of_row(predictions, 0, row) == layer
        for target in (predictions.dense.logits[0, row, 1], predictions.dense.boxes()[0, row, 0]):
            assert dependencies(target, features) == everything


@pytest.mark.parametrize("architecture", RTDETR)
def test_a_token_depends_on_its_own_level_and_those_the_encoder_makes_it_of(architecture):
    detector, predictions, features = captured(architecture)
    encoder = predictions.encoder
    levels = detector.row_levels(predictions, "encoder")[0]
    names = [layer.name for layer in detector.level_layers("encoder")]
    for level, name in enumerate(names):
        row = int((levels == level).nonzero()[0])
        assert detector.layer_of_row(predictions, 0, row, "encoder").name == name
        for target in (encoder.logits[0, row, 1], encoder.boxes()[0, row, 0]):
            # The encoder's coarser maps are made of its finer ones.
            assert dependencies(target, features) == {*STAGES, *names[: level + 1]}
        (gradient,) = torch.autograd.grad(encoder.logits[0, row, 1], features[name], retain_graph=True)
        assert gradient.any(1).sum() == 1
