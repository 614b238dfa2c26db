"""One canvas for all: images at the upper left, the detector's mean colour beyond, sides that its divisor divides."""

import pytest
import torch

from detinv.detectors.canvas import blank_canvas, check_canvas, on_canvas, settled_size, whole_canvas
from detinv.layouts.batch import canvas_size
from tests.fakes import FAMILIES, block_image, tiny_detector

GREY = tiny_detector("retinanet")
GREY.pixel_mean.copy_(torch.tensor([0.25, 0.5, 0.75]))


def test_images_of_several_sizes_share_a_canvas():
    images = [block_image((40, 64), 0), block_image((30, 70), 1)]
    pixels = on_canvas(GREY, images)
    assert pixels.shape == (2, 3, 64, 96)
    for row, image in enumerate(images):
        height, width = image.shape[1:]
        torch.testing.assert_close(pixels[row, :, :height, :width], image / 255)
        for beyond in (pixels[row, :, height:], pixels[row, :, :, width:]):
            assert torch.equal(beyond, GREY.pixel_mean[:, None, None].expand_as(beyond))


def test_a_batch_is_placed_as_its_images_are_one_by_one():
    batch = torch.rand(3, 3, 20, 33, generator=torch.Generator().manual_seed(0))
    assert torch.equal(on_canvas(GREY, batch, (64, 64)), on_canvas(GREY, list(batch), (64, 64)))


@pytest.mark.parametrize("as_list", [False, True])
def test_gradient_flows_to_the_images(as_list):
    batch = torch.rand(2, 3, 20, 33).requires_grad_()
    weights = torch.rand(2, 3, 32, 64)
    (gradient,) = torch.autograd.grad((on_canvas(GREY, list(batch) if as_list else batch) * weights).sum(), batch)
    assert torch.equal(gradient, weights[..., :20, :33])


def test_an_image_larger_than_the_canvas_is_an_error():
    with pytest.raises(ValueError, match=r"\(20, 33\) does not fit on a canvas of size \(32, 32\)"):
        on_canvas(GREY, torch.rand(1, 3, 20, 33), (32, 32))


def test_canvas_of_no_image_is_the_mean_colour():
    blank = blank_canvas(GREY, 2, (32, 64))
    assert torch.equal(blank, GREY.pixel_mean[:, None, None].expand(2, 3, 32, 64))


def test_sizes():
    assert canvas_size([(1, 33), (32, 32)], 32) == (32, 64)
    assert canvas_size([(31, 7)], 1) == (31, 7)
    assert whole_canvas(torch.zeros(2, 3, 5, 7)) == [(5, 7)] * 2
    check_canvas(torch.zeros(1, 3, 64, 32), 32)
    with pytest.raises(ValueError, match="multiples of 32"):
        check_canvas(torch.zeros(1, 3, 64, 33), 32)


def test_a_size_settles_where_resizing_changes_nothing():
    steps = {(10, 20): (9, 19), (9, 19): (9, 18), (9, 18): (9, 18)}
    assert settled_size((10, 20), steps.__getitem__) == (9, 18)


@pytest.mark.parametrize("family", [*FAMILIES, "ssd"])
def test_sizes_and_regions_need_not_be_given(family):
    detector = tiny_detector(family)
    pixels = block_image((64, 64))[None] / 255
    with torch.no_grad():
        bare, explicit = detector(pixels), detector(pixels, [(64, 64)])
    for one, other in zip(bare.outputs(), explicit.outputs(), strict=True):
        assert torch.equal(one, other)
    assert bare.roi is None or bare.roi.given == 0
    assert detector.device == torch.device("cpu")
