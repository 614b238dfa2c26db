"""Folded convolutions do what convolution and normalisation did, and only true pairs are found."""

import pytest
import torch
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from detinv.detectors.acceleration.folding import adjacent_pairs, fold, is_frozen_norm, replace_modules

CHANNELS = 4


class EpsilonInside(nn.Module):
    """As transformers has it: a frozen normalisation that tells nobody its epsilon."""

    def __init__(self, channels):
        super().__init__()
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.ones(channels))

    def forward(self, features):
        scale = self.weight * (self.running_var + 1e-5).rsqrt()
        return (features - self.running_mean[:, None, None]) * scale[:, None, None] + self.bias[:, None, None]


class DetrFrozenBatchNorm2d(EpsilonInside):
    pass


class OwnNormConv2d(nn.Conv2d):
    """As Detectron2 has it: a convolution that normalises and rectifies what it gives."""

    def __init__(self, *arguments, norm, **options):
        super().__init__(*arguments, **options)
        self.norm = norm

    def forward(self, features):
        return torch.relu(self.norm(super().forward(features)))


def settled(norm):
    torch.manual_seed(1)
    for value in (norm.weight, norm.bias, norm.running_mean):
        if value is not None:
            value.data.normal_()
    norm.running_var.uniform_(0.5, 2)
    return norm.double().requires_grad_(False).eval()


def conv(inputs=CHANNELS, outputs=CHANNELS, bias=False):
    torch.manual_seed(0)
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias).double().requires_grad_(False)


def noise():
    return torch.randn(2, CHANNELS, 6, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


NORMS = {
    "BatchNorm2d": lambda: nn.BatchNorm2d(CHANNELS),
    "without weights": lambda: nn.BatchNorm2d(CHANNELS, affine=False),
    "torchvision": lambda: FrozenBatchNorm2d(CHANNELS, eps=0.1),
    "transformers": lambda: DetrFrozenBatchNorm2d(CHANNELS),
}


def pairs_of(network):
    return adjacent_pairs(network, lambda: network(noise()))[0]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("kind", NORMS)
def test_a_folded_convolution_does_both(kind, bias):
    network = nn.Sequential(conv(bias=bias), settled(NORMS[kind]()), nn.ReLU(), conv())
    expected = network(noise())
    pairs = pairs_of(network)
    assert pairs == [(network[0], network[1])]
    weight = network[0].weight
    before = weight.clone()
    fold(*pairs[0])
    replace_modules(network, {network[1]: nn.Identity()})
    torch.testing.assert_close(network(noise()), expected, rtol=0, atol=1e-12)
    assert torch.equal(weight, before), "the old weights may be somebody else's"
    assert not network[0].weight.requires_grad


def test_a_convolution_with_a_norm_of_its_own_is_a_pair():
    norm = settled(FrozenBatchNorm2d(CHANNELS))
    network = nn.Sequential(OwnNormConv2d(CHANNELS, CHANNELS, 3, norm=norm).double().requires_grad_(False))
    expected = network(noise())
    assert pairs_of(network) == [(network[0], norm)]
    fold(network[0], norm)
    replace_modules(network, {norm: nn.Identity()})
    torch.testing.assert_close(network(noise()), expected, rtol=0, atol=1e-12)


def test_a_layer_that_is_called_several_times_is_still_a_pair():
    network = nn.Sequential(conv(), settled(nn.BatchNorm2d(CHANNELS)))
    pairs, seen = adjacent_pairs(network, lambda: [network(noise()), network(noise())])
    assert pairs == [(network[0], network[1])]
    assert len(seen) == 2


class Branches(nn.Module):
    """One convolution, two normalisations."""

    def __init__(self):
        super().__init__()
        self.conv = conv()
        self.first, self.second = settled(nn.BatchNorm2d(CHANNELS)), settled(nn.BatchNorm2d(CHANNELS))

    def forward(self, features):
        return self.first(self.conv(features)) + self.second(self.conv(features))


class Between(nn.Module):
    """Something happens to what the convolution gave."""

    def __init__(self, change):
        super().__init__()
        self.conv, self.norm, self.change = conv(), settled(nn.BatchNorm2d(CHANNELS)), change

    def forward(self, features):
        found = self.conv(features)
        return self.norm(self.change(found))


class Sometimes(nn.Module):
    """The normalisation sees what the convolution gave, and something else."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = conv(), settled(nn.BatchNorm2d(CHANNELS))

    def forward(self, features):
        return self.norm(self.conv(features)) + self.norm(features)


@pytest.mark.parametrize(
    "network",
    [
        Branches(),
        Between(torch.relu),
        Between(torch.relu_),
        Between(torch.clone),
        Sometimes(),
        nn.Sequential(settled(nn.BatchNorm2d(CHANNELS)), conv()),
        nn.Sequential(
            conv(), nn.BatchNorm2d(CHANNELS, track_running_stats=False).double().requires_grad_(False).eval()
        ),
        nn.Sequential(conv(), settled(nn.BatchNorm2d(CHANNELS)).train()),
        nn.Sequential(conv(), settled(nn.BatchNorm2d(CHANNELS)).requires_grad_(True)),
        nn.Sequential(conv(), nn.GroupNorm(2, CHANNELS).double().requires_grad_(False)),
    ],
    ids=[
        "two norms",
        "rectified",
        "rectified in place",
        "copied",
        "another input",
        "norm first",
        "statistics of the batch",
        "in training",
        "learning",
        "groups",
    ],
)
def test_what_is_no_pair_is_not_found(network):
    assert pairs_of(network) == []


def test_no_hook_is_left_behind_even_after_a_failure():
    network = nn.Sequential(conv(), settled(nn.BatchNorm2d(CHANNELS)))

    def fail():
        network(noise())
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        adjacent_pairs(network, fail)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_a_module_is_replaced_wherever_it_stands():
    shared = nn.ReLU()
    network = nn.Sequential(shared, nn.Sequential(conv(), shared))
    replace_modules(network, {shared: nn.Identity()})
    assert not any(isinstance(module, nn.ReLU) for module in network.modules())


def test_frozen_norms_are_told_by_kind_and_state():
    assert is_frozen_norm(settled(nn.BatchNorm2d(2)))
    assert is_frozen_norm(FrozenBatchNorm2d(2))
    assert not is_frozen_norm(nn.BatchNorm2d(2))
    assert not is_frozen_norm(nn.Conv2d(2, 2, 1).requires_grad_(False))
