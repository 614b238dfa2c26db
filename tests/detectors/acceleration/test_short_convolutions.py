"""Winograd's algorithm within some lines of code: the same numbers, also for several gradients at once."""

import pytest
import torch
from torch import nn

from detinv.detectors.acceleration import short_convolutions
from detinv.detectors.acceleration.short_convolutions import ShortConvolutions


def head(dtype: torch.dtype = torch.float64, **options) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(128, 128, 3, padding=1, **options), nn.GroupNorm(8, 128), nn.ReLU(), nn.Conv2d(128, 4, 1)]
    return nn.Sequential(*layers).to(dtype).requires_grad_(False)


@pytest.fixture
def convolved(monkeypatch) -> list[torch.Size]:
    """Sizes of the images that went the short way."""
    seen: list[torch.Size] = []
    ordinary = short_convolutions.convolved
    monkeypatch.setattr(
        short_convolutions, "convolved", lambda images, *rest: (seen.append(images.shape), ordinary(images, *rest))[1]
    )
    return seen


def test_outputs_and_gradients_are_the_same_one_by_one_and_together(convolved):
    features = torch.randn(1, 128, 17, 22, dtype=torch.float64, requires_grad=True)
    starts = torch.randn(5, 1, 4, 17, 22, dtype=torch.float64)
    network = head()
    expected = network(features)
    with ShortConvolutions():
        found = network(features)
    assert convolved == [features.shape]
    torch.testing.assert_close(found, expected)
    loop = [torch.autograd.grad(expected, features, start, retain_graph=True)[0] for start in starts]
    single = [torch.autograd.grad(found, features, start, retain_graph=True)[0] for start in starts]
    together = torch.vmap(lambda start: torch.autograd.grad(found, features, start, retain_graph=True)[0])(starts)
    torch.testing.assert_close(torch.stack(single), torch.stack(loop))
    torch.testing.assert_close(together, torch.stack(loop))


@pytest.mark.parametrize(
    "options", [{"padding": 0}, {"stride": 2}, {"groups": 2}, {"padding_mode": "reflect"}, {"dilation": 2}], ids=str
)
def test_other_convolutions_go_the_ordinary_way(convolved, options):
    torch.manual_seed(0)
    layer = nn.Conv2d(128, 128, 3, **({"padding": 1} | options)).requires_grad_(False)
    features = torch.randn(1, 128, 32, 32)
    with ShortConvolutions():
        found = layer(features)
    assert torch.equal(found, layer(features)) and not convolved


def test_outside_of_it_nothing_has_changed(convolved):
    network, features = head(torch.float32), torch.randn(1, 128, 32, 32)
    before = network(features)
    with ShortConvolutions():
        network(features)
    assert len(convolved) == 1
    assert torch.equal(network(features), before) and len(convolved) == 1


@pytest.mark.parametrize(("size", "short"), [((9, 9), True), ((9, 8), False)])
def test_nine_tiles_are_enough_as_several_gradients_share_them(convolved, size: tuple[int, int], short: bool):
    layer = nn.Conv2d(256, 256, 3, padding=1).requires_grad_(False)
    with ShortConvolutions():
        layer(torch.randn(1, 256, *size))
    assert bool(convolved) == short
