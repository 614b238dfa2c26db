"""Heads run on windows say what they say on whole feature maps."""

import pytest
import torch
from torch import nn

from detinv.detectors.base import AbstractDetector
from detinv.detectors.heads.window import window_radius
from detinv.detectors.hooks import capture_features
from detinv.detectors.load import load_detector
from tests.fakes import tiny_detector


def test_outputs_of_a_window_equal_those_of_the_whole_map_beyond_the_radius():
    detector = load_detector("shapes_retinanet")
    window, (finest, *_) = detector.head_window(), detector.level_layers()
    assert window is not None
    pixels = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    with torch.no_grad(), capture_features(detector, [finest]) as features:
        dense = detector(pixels).dense
        height, width = features[finest.name].shape[2:]
        outputs = window.outputs(0, features[finest.name][..., 2:, 3:])
    inner = (slice(None), slice(2 + window.radius, None), slice(3 + window.radius, None))
    for whole, part in ((dense.logits, outputs.logits), (dense.deltas, outputs.deltas)):
        grid = whole[:, : dense.head.level_sizes[0]].unflatten(1, (height, width, -1))
        seen = part.unflatten(1, (height - 2, width - 3, -1))
        radius = window.radius
        torch.testing.assert_close(seen[:, radius:, radius:], grid[inner], atol=1e-5, rtol=1e-5)


def test_a_head_that_normalises_over_its_level_has_all_of_it_as_its_window():
    detector = load_detector("shapes_fcos")
    window, levels = detector.head_window(), detector.level_layers()
    assert window is not None and window.radius is None
    pixels = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    with torch.no_grad(), capture_features(detector, levels) as features:
        dense = detector(pixels).dense
        parts = [window.outputs(number, features[layer.name]) for number, layer in enumerate(levels)]
    for name in ("logits", "deltas", "quality_logits"):
        whole = torch.cat([getattr(part, name) for part in parts], 1)
        torch.testing.assert_close(whole, getattr(dense, name), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["fasterrcnn", "ssd"])
def test_other_heads_do_not_claim_to_be_local(family: str):
    detector: AbstractDetector = tiny_detector(family)
    assert detector.head_window() is None


def test_radius_is_the_sum_over_convolutions_of_the_widest_branch():
    near = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.ReLU())
    far = nn.Sequential(nn.Conv2d(2, 2, 5, padding=2), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 3, padding=2, dilation=2))
    assert window_radius([near]) == 1
    assert window_radius([near, far]) == 4


@pytest.mark.parametrize(
    "module",
    [nn.GroupNorm(1, 2), nn.Conv2d(2, 2, 3, stride=2), nn.AdaptiveAvgPool2d(1), nn.ModuleList([nn.BatchNorm2d(2)])],
)
def test_no_radius_for_what_looks_further(module: nn.Module):
    assert window_radius([nn.Sequential(nn.Conv2d(2, 2, 3), module)]) is None
