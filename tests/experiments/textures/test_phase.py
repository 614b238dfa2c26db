"""Random phases: the spectrum, colours and mean that must stay, and the edges that must meet."""

import math

import pytest
import torch

from detinv.experiments.textures.phase import PhaseRandomised, periodic_component, random_phases, recoloured, tiled
from tests.fakes import block_image

SIZES = [(12, 16), (13, 15), (1, 8)]


def natural(size):
    """Colours that go together, on a ramp, so that opposite edges differ."""
    height, width = size
    noise = torch.rand(3, height, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mixing = torch.tensor([[1.0, 0.0, 0.0], [0.8, 0.3, 0.0], [-0.5, 0.2, 0.4]], dtype=torch.float64)
    ramp = torch.linspace(0, 3, width, dtype=torch.float64)
    return torch.einsum("ab,bhw->ahw", mixing, noise) + ramp


@pytest.mark.parametrize("size", SIZES)
def test_what_the_periodic_component_lacks_has_the_jumps_for_its_laplacian(size):
    image = natural(size)
    smooth = image - periodic_component(image)
    height, width = size
    jumps = torch.zeros_like(image)
    for y in range(height):
        for x in range(width):
            for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                ny, nx = y + dy, x + dx
                if not (0 <= ny < height and 0 <= nx < width):
                    jumps[:, y, x] += image[:, ny % height, nx % width] - image[:, y, x]
    laplacian = sum(smooth.roll(shift, axis) for shift in (1, -1) for axis in (1, 2)) - 4 * smooth
    torch.testing.assert_close(laplacian, jumps)
    torch.testing.assert_close(smooth.mean((1, 2)), torch.zeros(3, dtype=torch.float64))


@pytest.mark.parametrize("size", SIZES)
def test_spectrum_and_colours_that_go_together_stay(size):
    image = natural(size)
    texture = random_phases(image, torch.Generator().manual_seed(1))
    wanted, found = torch.fft.fft2(periodic_component(image)), torch.fft.fft2(texture)
    torch.testing.assert_close(found.abs(), wanted.abs())
    for first, second in ((0, 1), (0, 2), (1, 2)):
        torch.testing.assert_close(found[first] * found[second].conj(), wanted[first] * wanted[second].conj())
    torch.testing.assert_close(texture.mean((1, 2)), image.mean((1, 2)))


def test_shapes_are_gone():
    image = torch.zeros(3, 32, 32, dtype=torch.float64)
    image[:, 10:20, 10:20] = 1
    texture = random_phases(image, torch.Generator().manual_seed(1))
    apart = torch.stack([image[0].flatten(), texture[0].flatten()])
    assert abs(torch.corrcoef(apart)[0, 1]) < 0.3


def test_a_tiled_texture_repeats_and_keeps_its_scale():
    texture = natural((5, 7))
    plane = tiled(texture, 12, 6)
    assert plane.shape == (3, 12, 6)
    for y in range(12):
        for x in range(6):
            assert plane[:, y, x].equal(texture[:, y % 5, x % 7])


def test_colour_and_contrast_inside_the_mask_are_the_objects():
    texture, image = natural((20, 20)), 40 * natural((20, 20)).flip(1) + 100
    mask = torch.zeros(20, 20, dtype=torch.bool)
    mask[3:15, 4:18] = True
    found = recoloured(texture, image, mask)[:, mask]
    torch.testing.assert_close(found.mean(1), image[:, mask].mean(1))
    torch.testing.assert_close(found.std(1), image[:, mask].std(1))


def test_a_mask_of_one_pixel_gets_the_objects_colour():
    mask = torch.zeros(6, 6, dtype=torch.bool)
    mask[2, 3] = True
    image = natural((6, 6))
    torch.testing.assert_close(recoloured(natural((6, 6)).flip(2), image, mask)[:, 2, 3], image[:, 2, 3])


def test_an_image_keeps_colour_and_contrast_but_for_rounding():
    # Neither end of the range is near: nothing is clipped.
    image = (block_image((48, 48), 1).float() / 4 + 96).to(torch.uint8)
    mask = torch.zeros(1, 48, 48, dtype=torch.bool)
    mask[0, 10:40, 10:40] = True
    made = PhaseRandomised()(image, mask, block_image((30, 50), 2), torch.Generator().manual_seed(0))[0]
    before, after = image[:, mask[0]].float(), made[:, mask[0]].float()
    torch.testing.assert_close(after.mean(1), before.mean(1), atol=0.2, rtol=0)
    torch.testing.assert_close(after.std(1), before.std(1), atol=0.5, rtol=0)


def test_a_style_of_one_colour_leaves_the_mean():
    image, mask = block_image((16, 16)), torch.ones(1, 16, 16, dtype=torch.bool)
    made = PhaseRandomised()(image, mask, torch.full((3, 8, 8), 200, dtype=torch.uint8), torch.Generator())[0]
    assert all(len(channel.unique()) == 1 for channel in made)
    assert math.isclose(float(made[0, 0, 0]), float(image[0].float().mean()), abs_tol=0.51)
