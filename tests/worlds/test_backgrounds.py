"""Backgrounds: the same for the same generator, in range, and without any direction that a texture could have."""

import numpy as np
import pytest

from detinv.worlds.backgrounds import clouds


def background(seed: int, height: int = 64, width: int = 96) -> np.ndarray:
    return clouds(np.random.default_rng(seed), height, width)


@pytest.mark.parametrize("seed", range(5))
def test_shape_and_range(seed: int):
    canvas = background(seed)
    assert canvas.shape == (64, 96, 3)
    assert 0 <= canvas.min() < canvas.max() <= 1


def test_the_generator_decides():
    assert np.array_equal(background(1), background(1))
    assert not np.array_equal(background(1), background(2))


def test_they_are_smooth_but_for_grain_and_an_edge():
    """Neighbours differ by less than the canvas varies as a whole: there are no stripes."""
    roughness = []
    for seed in range(30):
        grey = background(seed).mean(axis=2)
        roughness.append(np.abs(np.diff(grey, axis=1)).mean() / grey.std())
    assert np.median(roughness) < 0.2


def test_some_have_two_colours_and_most_do_not():
    """The edge between two colours is a larger step than noise and grain make."""
    steps = [max(np.abs(np.diff(background(seed), axis=axis)).max() for axis in (0, 1)) for seed in range(60)]
    assert 10 < sum(step > 0.25 for step in steps) < 30
