"""Priors on images against plain references and their properties."""

from dataclasses import dataclass

import kornia
import pytest
import torch

from detinv.config.folders import choices, config_dir
from detinv.config.instantiate import compose_choice, instantiate
from detinv.errors import ConfigError
from detinv.inversion.regularisers.alpha_norm import AlphaNorm, alpha_norm
from detinv.inversion.regularisers.base import AbstractRegulariser, regulariser_terms
from detinv.inversion.regularisers.total_variation import TotalVariation, total_variation
from detinv.layouts.batch import LayoutBatch
from detinv.layouts.layout import Layout


def image() -> torch.Tensor:
    return torch.randn(2, 3, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def padded(*sizes: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Flat images of these sizes on a canvas whose sides are multiples of 64, and their mask."""
    none, no_labels = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    batch = LayoutBatch.collate([Layout(none, no_labels, size, str(size)) for size in sizes], 64)
    mask = batch.pixel_mask()
    return 0.3 * mask.expand(-1, 3, -1, -1), mask


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


def test_padding_does_not_count():
    """A flat image has no variation, however large its canvas; any other image has that of the image alone."""
    flat, mask = padded((50, 50), (64, 33))
    assert TotalVariation(1.0)(flat, mask).tolist() == [0, 0]
    noise = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * mask
    for one in (TotalVariation(1.0), TotalVariation(1.0, 1.5), AlphaNorm(1.0)):
        alone = [one(noise[:1, :, :50, :50], mask[:1, :, :50, :50]), one(noise[1:, :, :64, :33], mask[1:, :, :64, :33])]
        torch.testing.assert_close(one(noise, mask), torch.cat(alone))


def test_alpha_norm_takes_the_absolute_value_first():
    pixels = torch.tensor([-0.5, 0.25, 0.0]).view(1, 3, 1, 1)
    assert float(alpha_norm(pixels, 3.0)) == pytest.approx(0.5**3 + 0.25**3)


@pytest.mark.parametrize("exponent", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("kind", [TotalVariation, AlphaNorm])
def test_gradients_are_right_and_finite_also_where_images_are_flat(kind, exponent: float):
    one, mask = kind(1.0, exponent), torch.ones(2, 1, 5, 7, dtype=torch.float64)
    mask[1, :, :, 5:] = 0
    assert torch.autograd.gradcheck(lambda value: one(value, mask), (image() * mask).requires_grad_())
    flat = torch.zeros(2, 3, 5, 7, dtype=torch.float64, requires_grad=True)
    one(flat, mask).sum().backward()
    assert torch.equal(flat.grad, torch.zeros_like(flat))


@pytest.mark.parametrize("exponent", [0.0, 0.5, 0.999, -1.0, float("nan")])
def test_exponents_below_one_are_refused(exponent: float):
    for kind, function in ((TotalVariation, total_variation), (AlphaNorm, alpha_norm)):
        with pytest.raises(ConfigError, match="exponent=.*: choose at least 1") as caught:
            kind(1.0, exponent)
        assert "\n" not in str(caught.value)
        with pytest.raises(ValueError, match="exponent must be at least 1"):
            function(image(), exponent)


@pytest.mark.parametrize("name", choices(config_dir(), "regulariser"))
def test_every_file_describes_regularisers(name: str):
    """One value per image, differentiable, independent of the other images, zero only where a prior may be."""
    found = instantiate(compose_choice("regulariser", name))
    pixels, mask = (0.1 * image()).float().requires_grad_(), torch.ones(2, 1, 5, 7)
    terms = regulariser_terms(found, pixels, mask)
    assert terms.keys() == found.keys() and (terms or name == "none")
    for key, value in terms.items():
        assert isinstance(found[key], AbstractRegulariser)
        assert value.shape == (2,) and value.requires_grad
        torch.testing.assert_close(value[:1], found[key](pixels[:1], mask[:1]))


def test_one_without_weight_is_left_out():
    assert regulariser_terms({"a": TotalVariation(0.0), "b": AlphaNorm(1.0)}, *padded((8, 8))).keys() == {"b"}
    with pytest.raises(ConfigError, match="weight=-1"):
        TotalVariation(-1.0)


@dataclass(frozen=True)
class OfTheBatch(AbstractRegulariser):
    """The mistake that is most easily made: a mean over all images."""

    def __call__(self, pixels, mask):
        return pixels.square().mean() if self.weight == 1 else pixels.square().mean((1, 2))


@pytest.mark.parametrize(("weight", "shape"), [(1, r"\[\]"), (2, r"\[2, 4\]")])
def test_one_that_does_not_give_a_value_per_image_is_named(weight, shape):
    pixels = torch.rand(2, 3, 4, 4)
    with pytest.raises(ConfigError, match=rf"preset.regularisers.mine: .* shape {shape} for 2 images; give one value"):
        regulariser_terms({"mine": OfTheBatch(weight)}, pixels, torch.ones(2, 1, 4, 4))
