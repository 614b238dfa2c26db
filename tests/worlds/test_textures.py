"""Textures: amounts in [0, 1], periods and directions as declared."""

import numpy as np
import pytest

from detinv.worlds.textures import Checks, Dots, Plain, Stripes

X, Y = np.meshgrid(np.arange(48.0) + 0.5, np.arange(48.0) + 0.5)


@pytest.mark.parametrize(
    "texture", [Stripes(30.0), Dots(), Checks(), Plain()], ids=lambda texture: type(texture).__name__
)
def test_amount_lies_between_0_and_1(texture):
    amount = texture(X, Y)
    assert amount.shape == X.shape and amount.min() >= 0 and amount.max() <= 1


@pytest.mark.parametrize("degrees", [0.0, 45.0, 90.0, 135.0])
def test_stripes_change_across_and_not_along(degrees):
    texture, angle = Stripes(degrees), np.deg2rad(degrees)
    across, along = (np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))
    base = texture(X, Y)
    np.testing.assert_allclose(texture(X + 5 * along[0], Y + 5 * along[1]), base, atol=1e-9)
    np.testing.assert_allclose(texture(X + 6 * across[0], Y + 6 * across[1]), base, atol=1e-9)
    np.testing.assert_allclose(texture(X + 3 * across[0], Y + 3 * across[1]), 1 - base, atol=1e-9)


@pytest.mark.parametrize("texture", [Dots(), Checks()], ids=["dots", "checks"])
def test_lattice_repeats_every_eight_pixels(texture):
    np.testing.assert_allclose(texture(X + 8, Y), texture(X, Y))
    np.testing.assert_allclose(texture(X, Y - 8), texture(X, Y))
    assert 0.1 < texture(X, Y).mean() < 0.6


def test_plain_is_one_colour():
    assert not Plain()(X, Y).any()
