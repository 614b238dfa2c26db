"""Views: boxes and masks move with the pixels."""

import pytest
import torch

from detinv.inversion.pixels.augmentation import Augmentation
from detinv.layouts.batch import LayoutBatch
from detinv.layouts.layout import Layout


def batch(size: tuple[int, int] = (48, 64)) -> LayoutBatch:
    masks = torch.zeros(2, *size, dtype=torch.bool)
    masks[0, 10:20, 12:30] = True
    masks[1, 25:40, 35:60] = True
    one = Layout.from_masks(masks, torch.tensor([0, 1]), "one")
    other = Layout.from_masks(masks[:1], torch.tensor([2]), "other")
    return LayoutBatch.collate([one, other])


def picture(layouts: LayoutBatch) -> torch.Tensor:
    """Objects drawn as ones on zero."""
    assert layouts.masks is not None
    return layouts.masks.any(1, keepdim=True).float().expand(-1, 3, -1, -1).contiguous()


@pytest.mark.parametrize(
    "options", [{"shift": 5}, {"zoom": 0.1}, {"flip": 1.0}, {"shift": 3, "zoom": 0.1, "flip": 0.5, "hold": 2}]
)
def test_boxes_and_masks_follow_the_pixels(options: dict):
    layouts = batch()
    views = Augmentation(**options).views(layouts, steps=8, seed=0)
    moved = 0
    for step in range(8):
        view, seen = views.at(step, picture(layouts), torch.zeros(1, 3, 1, 1), layouts.pixel_mask())
        shown = view[:, 0] > 0.5
        assert seen.masks is not None
        assert torch.equal(shown, seen.masks.any(1))
        for image in range(2):
            for slot in range(int(layouts.valid[image].sum())):
                ys, xs = torch.nonzero(seen.masks[image, slot], as_tuple=True)
                tight = torch.tensor([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]).float()
                torch.testing.assert_close(seen.boxes[image, slot], tight, atol=1.01, rtol=0)
        moved += not torch.equal(seen.boxes, layouts.boxes)
    assert moved >= 4


def test_shifts_are_whole_pixels_and_differ_between_layouts_and_steps():
    layouts = batch()
    views = Augmentation(shift=4).views(layouts, steps=40, seed=1)
    offsets = []
    for step in range(40):
        _, seen = views.at(step, picture(layouts), torch.zeros(1, 3, 1, 1), layouts.pixel_mask())
        offsets.append((seen.boxes - layouts.boxes)[:, 0, :2])
    moves = torch.stack(offsets)
    assert torch.equal(moves, moves.round())
    assert moves.abs().max() <= 4
    assert len(torch.unique(moves[:, 0], dim=0)) > 15
    assert not torch.equal(moves[:, 0], moves[:, 1])


def test_a_layouts_views_do_not_depend_on_its_batch():
    layouts = batch()
    alone = LayoutBatch.collate([Layout(layouts.boxes[1, :1], layouts.labels[1, :1], (48, 64), "other")])
    image = torch.randn(2, 3, 48, 64)
    options = Augmentation(shift=3, flip=0.5, zoom=0.2, contrast=0.2, colour=0.1, brightness=0.1, noise=0.1)
    together, single = options.views(layouts, 5, 7), options.views(alone, 5, 7)
    mean = torch.full((1, 3, 1, 1), 0.5)
    for step in range(5):
        a, _ = together.at(step, image, mean, layouts.pixel_mask())
        b, _ = single.at(step, image[1:], mean, alone.pixel_mask())
        assert torch.equal(a[1:], b)


def test_held_views_keep_the_layout_object_and_until_ends_them():
    layouts = batch()
    views = Augmentation(shift=4, hold=3, until=0.5).views(layouts, steps=12, seed=0)
    seen = [views.at(step, picture(layouts), torch.zeros(1, 3, 1, 1), layouts.pixel_mask())[1] for step in range(12)]
    assert seen[0] is seen[1] is seen[2]
    assert seen[3] is not seen[2]
    assert all(item is layouts for item in seen[6:])


def test_off_by_default():
    layouts = batch()
    image = torch.randn(2, 3, 48, 64)
    view, seen = Augmentation().views(layouts, 3, 0).at(0, image, torch.zeros(1, 3, 1, 1), layouts.pixel_mask())
    assert view is image
    assert seen is layouts


def test_gradient_flows_back_through_a_view():
    layouts = batch()
    image = (0.1 * torch.randn(2, 3, 48, 64)).requires_grad_()
    views = Augmentation(shift=2, flip=1.0, contrast=0.1).views(layouts, 1, 0)
    view, _ = views.at(0, image, torch.full((1, 3, 1, 1), 0.5), layouts.pixel_mask())
    (gradient,) = torch.autograd.grad(view.sum(), image)
    inside = gradient[:, :, 8:-8, 8:-8]
    assert bool((inside.abs() > 0).all())
