"""A small image convolved alone has the bits that it has among others, without being computed twice."""

import pytest
import torch
from torch import nn

from detinv.detectors.acceleration import single_row
from detinv.inversion.modules.workers import cpu_threads

# By name: a layer and the shape of an image.
LAYERS = {
    "3 x 3": (lambda: nn.Conv2d(64, 64, 3, padding=1), (64, 8, 8)),
    "stride 2, last column unused": (lambda: nn.Conv2d(16, 32, 3, stride=2), (16, 10, 12)),
    "no bias, rows unlike columns": (lambda: nn.Conv2d(16, 8, (3, 1), (2, 1), (1, 0), bias=False), (16, 9, 7)),
    "dilated": (lambda: nn.Conv2d(16, 16, 3, padding=2, dilation=2), (16, 9, 9)),
}


def results(run, images):
    images = images.clone().requires_grad_()
    found = run(images)
    weights = torch.linspace(-1, 1, found[0].numel()).view(found[0].shape).expand_as(found).contiguous()
    (gradient,) = torch.autograd.grad(found, images, weights)
    return found.detach(), gradient


@pytest.mark.parametrize("name", LAYERS)
def test_one_image_has_the_bits_of_one_of_two(name):
    build, shape = LAYERS[name]
    with torch.random.fork_rng(), cpu_threads(1):
        torch.manual_seed(0)
        layer = build().requires_grad_(False).to(memory_format=torch.channels_last)
        two = torch.randn(2, *shape).contiguous(memory_format=torch.channels_last)
        assert single_row.suits(layer, two[:1])
        for alone, among in zip(
            results(lambda image: single_row.convolve(layer, image), two[:1]), results(layer, two), strict=True
        ):
            assert torch.equal(alone, among[:1])


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 4, 3),
        nn.Conv2d(4, 4, 3, groups=2).requires_grad_(False),
        nn.Conv2d(4, 4, 3, padding="same").requires_grad_(False),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect").requires_grad_(False),
        nn.ConvTranspose2d(4, 4, 3).requires_grad_(False),
        nn.Conv2d(4, 4, 3).double().requires_grad_(False),
    ],
    ids=["trained", "groups", "same", "reflect", "transposed", "double"],
)
def test_other_layers_do_not_suit(layer):
    assert not single_row.suits(layer, torch.rand(1, 4, 8, 8))


def test_autocast_does_not_suit():
    layer = nn.Conv2d(4, 4, 3).requires_grad_(False)
    with torch.autocast("cpu", torch.bfloat16):
        assert not single_row.suits(layer, torch.rand(1, 4, 8, 8))
