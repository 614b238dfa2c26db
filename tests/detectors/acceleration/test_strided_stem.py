"""The fast gradient to the pixels is the library's."""

import pytest
import torch
from torch import nn

from detinv.detectors.acceleration.strided_stem import StridedStem


def layer(inputs=3, outputs=4, size=3, padding=1, dtype=torch.float64, **options):
    torch.manual_seed(0)
    made = nn.Conv2d(inputs, outputs, size, 2, padding, dtype=dtype, **options)
    return made.requires_grad_(False).eval()


@pytest.mark.parametrize(
    ("inputs", "size", "padding", "shape"),
    [
        (3, 7, 3, (2, 32, 40)),
        (3, 3, 1, (1, 33, 30)),
        (1, 4, 1, (1, 17, 18)),
        (3, 3, 0, (1, 18, 19)),
        (3, (5, 3), (2, 0), (1, 20, 21)),
        (4, 6, 2, (1, 12, 13)),
        (2, 1, 0, (3, 9, 8)),
        (3, 2, 0, (1, 9, 9)),
        (3, 3, 3, (1, 6, 5)),
    ],
)
def test_output_and_gradient_are_those_of_the_ordinary_convolution(inputs, size, padding, shape):
    ordinary = layer(inputs, size=size, padding=padding)
    assert StridedStem.suits(ordinary)
    asked = torch.randn(shape[0], inputs, *shape[1:], dtype=torch.float64, requires_grad=True)
    expected, found = ordinary(asked), StridedStem(ordinary)(asked)
    assert torch.equal(found, expected)
    upstream = torch.randn_like(expected)
    wanted, given = (torch.autograd.grad(output, asked, upstream)[0] for output in (expected, found))
    torch.testing.assert_close(given, wanted, rtol=0, atol=1e-12)


def test_gradient_is_that_of_the_function():
    asked = torch.randn(1, 3, 7, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(StridedStem(layer()), (asked,))


def test_weights_that_learn_go_the_ordinary_way():
    stem = StridedStem(layer().requires_grad_(True))
    stem(torch.randn(1, 3, 8, 8, dtype=torch.float64, requires_grad=True)).sum().backward()
    assert stem.weight.grad is not None


def test_reduced_precision_goes_the_ordinary_way():
    ordinary = layer(dtype=torch.float32)
    asked = torch.randn(1, 3, 8, 8, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        expected, found = ordinary(asked), StridedStem(ordinary)(asked)
    assert torch.equal(found, expected)
    assert found.dtype is torch.bfloat16


class _Scaled(nn.Conv2d):
    pass


@pytest.mark.parametrize(
    "other",
    [
        nn.Conv2d(3, 8, 3, 1, 1),
        nn.Conv2d(3, 8, 3, 4, 1),
        nn.Conv2d(8, 8, 3, 2, 1),
        nn.Conv2d(3, 6, 3, 2, 1, groups=3),
        nn.Conv2d(3, 8, 3, 2, 2, dilation=2),
        nn.Conv2d(3, 8, 3, 2, 1, padding_mode="reflect"),
        _Scaled(3, 8, 3, 2, 1),
    ],
    ids=str,
)
def test_other_layers_do_not_suit(other):
    assert not StridedStem.suits(other)
