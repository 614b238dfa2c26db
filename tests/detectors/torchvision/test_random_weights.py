import pytest
import torch
from torch import nn
from torchvision.models import get_model

from detinv.detectors.torchvision.random_weights import class_layers, randomise_weights
from detinv.zoo.weights import weight_hash
from tests.fakes import block_image

NAMES = ("ssdlite320_mobilenet_v3_large", "fasterrcnn_mobilenet_v3_large_320_fpn", "fcos_resnet50_fpn")
CASES = [*NAMES, pytest.param("maskrcnn_resnet50_fpn", marks=pytest.mark.slow)]


def plain(name):
    return get_model(name, weights=None, weights_backbone=None, num_classes=6).eval()


def features(model, seed):
    with torch.no_grad():
        found = model.backbone(block_image((128, 128), seed)[None].float() / 127.5 - 1)
    return list(found.values())


@pytest.mark.parametrize("name", CASES)
def test_features_neither_vanish_nor_explode_and_tell_images_apart(name):
    model = plain(name)
    randomise_weights(model)
    for first, second in zip(features(model, 1), features(model, 2), strict=True):
        scale = first.square().mean().sqrt()
        assert 0.05 < scale < 20
        assert (first - second).square().mean().sqrt() > 0.05 * scale


def test_the_librarys_own_start_values_do_vanish():
    """The reason for all this."""
    assert features(plain(NAMES[0]), 1)[-1].abs().max() < 1e-6


def test_weights_are_the_same_every_time_and_no_hook_is_left():
    first, second = plain(NAMES[0]), plain(NAMES[0])
    assert weight_hash(first) != weight_hash(second)
    state = torch.get_rng_state()
    randomise_weights(first, dead=[2])
    assert torch.equal(torch.get_rng_state(), state)
    randomise_weights(second, dead=[2])
    assert weight_hash(first) == weight_hash(second)
    randomise_weights(second, dead=[2], seed=1)
    assert weight_hash(first) != weight_hash(second)
    assert not any(module._forward_pre_hooks for module in first.modules())


@pytest.mark.parametrize("name", CASES)
def test_dead_columns_are_low_whatever_is_seen(name):
    model = plain(name)
    randomise_weights(model, dead=[2, 5])
    for layer, columns in class_layers(model):
        assert columns == 6
        shape = (3, layer.in_channels, 4, 4) if isinstance(layer, nn.Conv2d) else (3, layer.in_features)
        with torch.no_grad():
            logits = layer(torch.randn(shape)).unflatten(1, (-1, columns))
        assert (logits[:, :, [2, 5]] == -20).all()
        assert (logits[:, :, [0, 1, 3, 4]] != -20).all()
