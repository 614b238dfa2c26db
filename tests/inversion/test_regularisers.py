"""Priors on images against plain references and their properties."""

import kornia
import pytest
import torch

from detinv.inversion.regularisers.alpha_norm import alpha_norm
from detinv.inversion.regularisers.total_variation import total_variation


def image() -> torch.Tensor:
    return torch.randn(2, 3, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("exponent", [1.0, 1.5, 2.0])
def test_total_variation_equals_the_loop(exponent: float):
    pixels = image()
    for index, picture in enumerate(pixels):
        expected = 0.0
        for channel in picture.tolist():
            for y in range(5):
                for x in range(7):
                    expected += abs(channel[y][x + 1] - channel[y][x]) ** exponent if x < 6 else 0
                    expected += abs(channel[y + 1][x] - channel[y][x]) ** exponent if y < 4 else 0
        assert float(total_variation(pixels, exponent)[index]) == pytest.approx(expected)


def test_total_variation_is_kornia_s_at_one_and_ignores_an_offset():
    pixels = image()
    by_channel = kornia.losses.total_variation(pixels, reduction="sum")
    torch.testing.assert_close(total_variation(pixels, 1.0), by_channel.sum(1))
    torch.testing.assert_close(total_variation(pixels + 0.3), total_variation(pixels))
    assert float(total_variation(torch.full((1, 3, 4, 4), 0.2))) == 0


def test_alpha_norm_takes_the_absolute_value_first():
    pixels = torch.tensor([-0.5, 0.25, 0.0]).view(1, 3, 1, 1)
    assert float(alpha_norm(pixels, 3.0)) == pytest.approx(0.5**3 + 0.25**3)


@pytest.mark.parametrize("function", [total_variation, alpha_norm])
def test_gradients_and_bad_exponents(function):
    assert torch.autograd.gradcheck(lambda value: function(value, 2.0), image().requires_grad_())
    with pytest.raises(ValueError, match="exponent must be positive"):
        function(image(), 0.0)
