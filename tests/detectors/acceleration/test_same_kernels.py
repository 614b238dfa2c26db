"""Layers that use the same code for any batch: a row has the layer's own numbers, with the same bits everywhere."""

import copy

import pytest
import torch
from torch import nn

from detinv.detectors.acceleration.same_kernels import keep_kernels
from detinv.inversion.modules.workers import cpu_threads

# By name: a layer, the shape of a row of its input, and numbers of rows that torch treats differently.
LAYERS = {
    "3 x 3": (lambda: nn.Conv2d(64, 64, 3, padding=1), (64, 8, 8), (1, 2)),
    "3 x 3, as large as that goes": (lambda: nn.Conv2d(20, 64, 3, padding=1), (20, 32, 32), (1, 2)),
    "1 x 1 of stride 2": (lambda: nn.Conv2d(64, 64, 1, stride=2), (64, 8, 8), (1, 2)),
    "1 x 1": (lambda: nn.Conv2d(256, 64, 1), (256, 4, 4), (1, 15, 16, 33)),
    "transposed": (lambda: nn.ConvTranspose2d(64, 64, 2, stride=2), (64, 7, 7), (1, 2)),
    "linear": (lambda: nn.Linear(64, 16), (64,), (1, 2, 3, 4, 33)),
}


def results(layer, values):
    values = values.clone().requires_grad_()
    found = layer(values)
    weights = torch.linspace(-1, 1, found[0].numel()).view(found[0].shape).expand_as(found).contiguous()
    (gradient,) = torch.autograd.grad(found, values, weights)
    return found.detach(), gradient


@pytest.mark.parametrize("name", LAYERS)
def test_a_row_has_the_same_bits_in_any_batch(name):
    build, shape, counts = LAYERS[name]
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(), cpu_threads(1):
        torch.manual_seed(0)
        layer = build().requires_grad_(False)
        kept = copy.deepcopy(layer)
        keep_kernels(kept)
        values = torch.randn(40, *shape, generator=generator)
        whole = results(kept, values)
        for count in counts:
            for some, own, every in zip(
                results(kept, values[:count]), results(layer, values[:count]), whole, strict=True
            ):
                assert torch.equal(some, every[:count])
                torch.testing.assert_close(some, own)


def test_layers_keep_their_class_and_batches_without_rows():
    layer = nn.Linear(3, 2)
    network = nn.Sequential(layer)
    keep_kernels(network)
    assert network[0] is layer and network[0].out_features == 2
    assert network(torch.zeros(0, 3)).shape == (0, 2)
    assert network(torch.zeros(3)).shape == (2,)


@pytest.mark.parametrize("name", LAYERS)
def test_a_row_has_the_same_bits_in_two_threads(name):
    build, shape, _ = LAYERS[name]
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = build().requires_grad_(False)
    keep_kernels(layer)
    values = torch.randn(2, *shape, generator=generator)
    with cpu_threads(1):
        expected = results(layer, values)
    with cpu_threads(2):
        found = results(layer, values)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
