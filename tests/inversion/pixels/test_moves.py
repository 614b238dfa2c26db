"""Moves of pixels without interpolation: what is shown, and the gradients."""

import pytest
import torch

from detinv.inversion.pixels.moves import scale_images, shift_images


def test_a_shift_shows_the_moved_image_and_zeros():
    shifts = [[2, -1], [0, 3], [-4, 0], [0, 0]]
    images = torch.randn(4, 2, 7, 9, dtype=torch.float64, requires_grad=True)
    padded = torch.nn.functional.pad(images.detach(), (4, 4, 4, 4))
    for index, (right, down) in enumerate(shifts):
        expected = padded[index, :, 4 - down : 11 - down, 4 - right : 13 - right]
        assert torch.equal(shift_images(images, shifts)[index], expected)
    assert torch.autograd.gradcheck(lambda value: shift_images(value, shifts), images)


@pytest.mark.parametrize("shift", [(5, 0), (-5, 0), (0, 7), (0, -7), (4, -6), (90, 90)])
def test_what_is_shifted_out_of_the_canvas_is_gone(shift: tuple[int, int]):
    assert not shift_images(torch.ones(1, 3, 6, 4), [list(shift)]).any()


def test_a_scaled_image_shows_the_nearest_pixels():
    images = torch.randn(3, 2, 11, 14, dtype=torch.float64)
    scales = torch.tensor([[1.25, 1.25], [-0.8, 0.8], [-1.0, 1.0]])
    limits = torch.tensor([[14.0, 11.0], [9.0, 10.0], [14.0, 11.0]])
    shown = scale_images(images, scales, limits)
    for image, ((x_scale, y_scale), (width, height)) in enumerate(zip(scales.tolist(), limits.tolist(), strict=True)):
        for y in range(11):
            for x in range(14):
                column = round((x - (width - 1) / 2) / x_scale + (width - 1) / 2)
                row = round((y - (height - 1) / 2) / y_scale + (height - 1) / 2)
                inside = 0 <= column < width and 0 <= row < height and x < width and y < height
                expected = images[image, :, row, column] if inside else torch.zeros(2, dtype=torch.float64)
                assert torch.equal(shown[image, :, y, x], expected)
    assert torch.equal(shown[2], images[2].flip(-1))


def test_the_gradient_of_a_scaled_image():
    images = torch.randn(3, 1, 5, 7, dtype=torch.float64, requires_grad=True)
    scales = torch.tensor([[1.25, 1.25], [-0.8, 0.8], [-1.0, 1.0]])
    limits = torch.tensor([[7.0, 5.0], [5.0, 4.0], [7.0, 5.0]])
    assert torch.autograd.gradcheck(lambda value: scale_images(value, scales, limits), images)
