"""Gradients with the spectrum and the colours of photographs."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detinv.errors import ConfigError
from detinv.inversion.pixels.pixels import RawPixels
from detinv.inversion.pixels.precondition import Preconditioned, Preconditioner
from detinv.layouts.batch import LayoutBatch
from detinv.layouts.layout import Layout

OPTIONS = [Preconditioner(), Preconditioner(power=1, colour=0), Preconditioner(power=0, colour=0.5)]


def noise(*size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def layout(height: int, width: int, name: str) -> Layout:
    return Layout(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), (height, width), name)


def reference(gradient: np.ndarray, power: float) -> np.ndarray:
    """Every wave of the image by itself, scaled by its wavelength to twice the power; not normalised."""
    height, width = gradient.shape
    rows, columns = np.arange(height)[:, None], np.arange(width)
    found = np.zeros((height, width))
    for u in range(height):
        for v in range(width):
            wave = np.exp(2j * np.pi * (u * rows / height + v * columns / width))
            frequency = np.hypot(min(u, height - u) / height, min(v, width - v) / width)
            wavelength = min(1 / frequency if frequency else np.inf, max(height, width))
            found += (wave * (gradient * wave.conj()).sum()).real / (height * width) * wavelength ** (2 * power)
    return found


@pytest.mark.parametrize("power", [1.0, 0.5])
@pytest.mark.parametrize("size", [(6, 9), (8, 5)])
def test_every_wave_is_scaled_by_its_wavelength(size, power):
    gradient = noise(3, *size)
    found = Preconditioner(power, colour=0)(gradient)
    wanted = np.stack([reference(one.double().numpy(), power) for one in gradient])
    ratio = found.numpy() / wanted
    np.testing.assert_allclose(ratio, np.full_like(ratio, np.median(ratio)), rtol=1e-3)


def test_without_powers_nothing_changes():
    gradient = noise(3, 7, 10)
    assert torch.equal(Preconditioner(power=0, colour=0)(gradient), gradient)


@pytest.mark.parametrize("options", OPTIONS)
def test_white_noise_keeps_its_size(options):
    reshaped = torch.stack([options(noise(3, 24, 32, seed=seed)) for seed in range(200)])
    assert reshaped.square().mean().sqrt().item() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("options", OPTIONS)
@given(size=st.tuples(st.integers(1, 12), st.integers(1, 12)), seed=st.integers(0, 99))
def test_a_step_along_it_is_still_downhill(options, size, seed):
    """The matrix that stands for it is symmetric, and positive definite."""
    a, b = noise(3, *size, seed=seed), noise(3, *size, seed=seed + 100)
    assert (a * options(a)).sum() > 0
    forward, back = (a * options(b)).sum(), (b * options(a)).sum()
    torch.testing.assert_close(forward, back, rtol=1e-3, atol=1e-3 * a.norm() * options(b).norm())


def test_brightness_moves_more_than_colours():
    grey = torch.ones(3, 8, 8)
    colourful = torch.tensor([1.0, 0.0, -1.0])[:, None, None].expand(3, 8, 8)
    options = Preconditioner(power=0)
    assert options(grey).square().mean() > 100 * options(colourful.contiguous()).square().mean()


def test_colours_are_multiplied_by_their_covariance():
    colours = ((2.0, 0.5, 0.0), (0.5, 1.0, -0.3), (0.0, -0.3, 0.7))
    gradient = noise(3, 5, 6)
    found = Preconditioner(power=0)(gradient, colours)
    wanted = torch.einsum("ij,jhw->ihw", torch.tensor(colours), gradient)
    torch.testing.assert_close(found, wanted * (3**0.5 / torch.tensor(colours).norm()))
    assert not torch.allclose(found, Preconditioner(power=0)(gradient))


def gradients(*layouts: Layout) -> torch.Tensor:
    batch = LayoutBatch.collate(layouts, divisor=16)
    pixels = RawPixels(batch, torch.full((3,), 0.5), 0, 0.05)
    upstream = torch.stack([noise(3, *batch.canvas_size, seed=int(one.id)) for one in layouts])
    centred = Preconditioned.apply(pixels.centred(), Preconditioner(), batch.image_sizes)
    (centred * upstream).sum().backward()
    return pixels.values.grad


def test_an_image_is_treated_within_its_own_size_whatever_its_batch():
    small, other = layout(20, 30, "1"), layout(32, 17, "2")
    together = gradients(small, other)
    assert torch.equal(together[0], gradients(small)[0])
    assert together[0, :, :20, :30].count_nonzero() == 3 * 20 * 30
    assert not together[0, :, 20:].any() and not together[0, :, :, 30:].any()
    upstream = noise(3, 32, 32, seed=1)[:, :20, :30]
    assert torch.equal(together[0, :, :20, :30], Preconditioner()(upstream))


def test_pixels_themselves_are_as_without():
    images = noise(1, 3, 20, 30)
    assert torch.equal(Preconditioned.apply(images, Preconditioner(), [(20, 30)]), images)


@pytest.mark.parametrize("options", [{"power": -1}, {"colour": -0.1}])
def test_numbers_out_of_range_are_refused(options):
    with pytest.raises(ConfigError, match=f"^{next(iter(options))}="):
        Preconditioner(**options)
