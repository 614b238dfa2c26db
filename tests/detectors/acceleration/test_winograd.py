"""The short way gives what the library's convolution gives, and is gone only where it may be."""

import pytest
import torch
from torch import nn

from detinv.detectors.acceleration import winograd
from detinv.detectors.acceleration.winograd import WinogradConv2d, transformed


@pytest.fixture
def every_size(monkeypatch):
    """The short way for however little there is to do."""
    for name in ("_LEAST_TILES", "_LEAST_PRODUCTS"):
        monkeypatch.setattr(winograd, name, 0)


def layer(inputs=3, outputs=5, *, bias=True, dtype=torch.float64, **options):
    generator = torch.Generator().manual_seed(0)
    made = nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias, dtype=dtype, **options).requires_grad_(False)
    for parameter in made.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=dtype))
    return made.eval()


def images(*shape, dtype=torch.float64, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("at_once", [1, 5, 1000])
@pytest.mark.parametrize("size", [(1, 1), (2, 7), (4, 4), (5, 9), (8, 12), (13, 10)])
def test_output_and_gradient_are_those_of_the_ordinary_convolution(every_size, monkeypatch, size, at_once, bias):
    monkeypatch.setattr(winograd, "_AT_ONCE", at_once)
    ordinary = layer(bias=bias)
    short = WinogradConv2d(ordinary)
    asked = images(2, 3, *size).requires_grad_()
    assert short.is_short(asked)
    expected, found = ordinary(asked), short(asked)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-11)
    upstream = images(*expected.shape, seed=2)
    wanted, given = (torch.autograd.grad(output, asked, upstream)[0] for output in (expected, found))
    torch.testing.assert_close(given, wanted, rtol=0, atol=1e-11)


@pytest.mark.parametrize("at_once", [1, 1000])
def test_zeros_are_passed_over_and_the_rest_stays_the_same(every_size, monkeypatch, at_once):
    monkeypatch.setattr(winograd, "_AT_ONCE", at_once)
    ordinary = layer(bias=False)
    short = WinogradConv2d(ordinary)
    asked = torch.zeros(4, 3, 22, 19, dtype=torch.float64)
    asked[1, 2, 8, 11] = 1  # in the corner of a tile: four tiles depend on it
    asked[2, :, :, 3:5] = images(3, 22, 2)
    asked[3, 0, 21, 18] = float("nan")
    for turned in (False, True):
        kernels = transformed(ordinary.weight)
        if turned:
            kernels, ordinary = kernels.transpose(1, 2), layer(5, 3, bias=False)
            ordinary.weight.copy_(layer(bias=False).weight.flip(2, 3).transpose(0, 1))
            asked = asked[:, [0, 1, 2, 0, 1]]
        expected = ordinary(asked)
        found = winograd._convolve(asked, kernels, turned=turned)
        torch.testing.assert_close(found[:3], expected[:3], rtol=0, atol=1e-11)
        assert found[0].abs().max() == 0
        assert found[3, 0, 21, 18].isnan()
    assert torch.equal(short(asked[:1, :3]), torch.zeros(1, 5, 22, 19, dtype=torch.float64))


def test_gradient_is_that_of_the_function(every_size):
    short = WinogradConv2d(layer(2, 3))
    assert torch.autograd.gradcheck(short, (images(1, 2, 5, 6).requires_grad_(),))


def test_single_precision_is_rounded_a_little_more_coarsely():
    # As large as it gets in practice: the error grows with the number of terms.
    ordinary = layer(256, 64, dtype=torch.float32)
    asked = images(1, 256, 20, 20, dtype=torch.float32)
    short = WinogradConv2d(ordinary)
    assert short.is_short(asked)
    exact = layer(256, 64).requires_grad_(False)
    for mine, theirs in zip(exact.parameters(), ordinary.parameters(), strict=True):
        mine.copy_(theirs)
    truth = exact(asked.double())
    error = (short(asked) - truth).abs() / truth.std()
    assert float(error.max()) < 2e-5
    assert float(error.square().mean().sqrt()) < 2e-6


def test_channels_come_last_in_memory_and_what_follows_may_work_in_place(every_size):
    for bias in (True, False):
        asked = images(2, 3, 8, 8).requires_grad_()
        found = WinogradConv2d(layer(bias=bias))(asked)
        assert found.is_contiguous(memory_format=torch.channels_last)
        expected = torch.relu(layer(bias=bias)(asked))
        torch.testing.assert_close(found.relu_(), expected, rtol=0, atol=1e-11)
        wanted, given = (torch.autograd.grad(output.sum(), asked)[0] for output in (expected, found))
        torch.testing.assert_close(given, wanted, rtol=0, atol=1e-11)


def test_an_image_is_the_same_alone_and_in_a_batch():
    ordinary = layer(128, 128, dtype=torch.float32)
    asked = images(3, 128, 24, 20, dtype=torch.float32)
    short = WinogradConv2d(ordinary)
    together = short(asked)
    for number in range(3):
        assert torch.equal(short(asked[number : number + 1])[0], together[number])


def test_an_image_takes_the_same_way_alone_and_in_a_batch():
    short = WinogradConv2d(layer(128, 128, dtype=torch.float32))
    for side in (4, 12, 16, 20, 40):
        ways = {short.is_short(torch.zeros(batch, 128, side, side)) for batch in (1, 2, 16)}
        assert len(ways) == 1
    assert not short.is_short(torch.zeros(1, 128, 12, 12))
    assert short.is_short(torch.zeros(1, 128, 40, 40))


def test_small_images_go_the_ordinary_way_to_the_last_bit():
    ordinary = layer(64, 64, dtype=torch.float32)
    asked = images(1, 64, 8, 8, dtype=torch.float32)
    assert torch.equal(WinogradConv2d(ordinary)(asked), ordinary(asked))


def test_reduced_precision_goes_the_ordinary_way():
    ordinary = layer(64, 64, dtype=torch.float32)
    short, asked = WinogradConv2d(ordinary), images(1, 64, 64, 64, dtype=torch.float32)
    assert short.is_short(asked)
    with torch.autocast("cpu", torch.bfloat16):
        assert not short.is_short(asked)
        assert torch.equal(short(asked), ordinary(asked))


def test_weights_that_learn_go_the_ordinary_way(every_size):
    short = WinogradConv2d(layer().requires_grad_(True))
    short(images(1, 3, 8, 8)).sum().backward()
    assert short.weight.grad is not None


def test_a_kernel_turned_round_shares_the_transform(every_size):
    ordinary = layer(3, 3, bias=False)
    turned = layer(3, 3, bias=False)
    turned.weight.copy_(ordinary.weight.flip(2, 3).transpose(0, 1))
    asked = images(1, 3, 8, 8)
    kernels = transformed(ordinary.weight).transpose(1, 2)
    found = winograd._convolve(asked, kernels, turned=True)
    torch.testing.assert_close(found, turned(asked), rtol=0, atol=1e-11)


def test_parameters_are_shared():
    ordinary = layer()
    short = WinogradConv2d(ordinary)
    assert short.weight is ordinary.weight
    assert short.bias is ordinary.bias
    assert not short.training
    assert set(short.state_dict()) == {"weight", "bias"}


class _Scaled(nn.Conv2d):
    pass


@pytest.mark.parametrize(
    "other",
    [
        nn.Conv2d(128, 128, 3, stride=2, padding=1),
        nn.Conv2d(128, 128, 3),
        nn.Conv2d(128, 128, 3, padding="same"),
        nn.Conv2d(128, 128, 3, padding=2, dilation=2),
        nn.Conv2d(128, 128, 3, padding=1, groups=2),
        nn.Conv2d(128, 128, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(128, 128, 1),
        nn.Conv2d(128, 128, 5, padding=2),
        nn.Conv2d(64, 64, 3, padding=1),
        nn.Conv2d(256, 36, 3, padding=1),
        _Scaled(128, 128, 3, padding=1),
    ],
    ids=str,
)
def test_other_layers_have_no_short_way(other):
    assert not WinogradConv2d.suits(other)


def test_a_layer_of_its_kind_has_one():
    assert WinogradConv2d.suits(nn.Conv2d(128, 128, 3, padding=1))
