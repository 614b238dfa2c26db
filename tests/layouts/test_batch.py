"""Batches of layouts: padding without loss."""

import pytest
import torch

from detinv.errors import LayoutError
from detinv.layouts.batch import LayoutBatch, slots_for
from detinv.layouts.layout import Layout


def masked(count, image_size, id):
    masks = torch.zeros(count, *image_size, dtype=torch.bool)
    for k in range(count):
        masks[k, k : k + 3, 2:6] = True
    return Layout.from_masks(masks, torch.arange(count), id)


def test_collate_pads_slots_and_canvas():
    layouts = [masked(2, (20, 30), "a"), masked(3, (33, 10), "b"), masked(0, (5, 5), "c")]
    batch = LayoutBatch.collate(layouts, divisor=16)
    assert len(batch) == 3 and batch.canvas_size == (48, 32) and batch.ids == ("a", "b", "c")
    assert batch.image_sizes == ((20, 30), (33, 10), (5, 5))
    assert batch.valid.tolist() == [[True, True, False], [True] * 3, [False] * 3]
    assert batch.boxes[~batch.valid].unique(dim=0).tolist() == [[0, 0, 1, 1]]
    for row, layout in enumerate(layouts):
        n, (h, w) = len(layout), layout.image_size
        assert torch.equal(batch.boxes[row, :n], layout.boxes)
        assert torch.equal(batch.labels[row, :n], layout.labels)
        assert torch.equal(batch.masks[row, :n, :h, :w], layout.masks)
        assert batch.masks[row].sum() == layout.masks.sum()


def test_pixel_mask_covers_each_image():
    batch = LayoutBatch.collate([masked(1, (20, 30), "a"), masked(1, (33, 10), "b")], divisor=8)
    inside = batch.pixel_mask()
    assert inside.shape == (2, 1, 40, 32)
    assert inside.sum((1, 2, 3)).tolist() == [600, 330]
    assert inside[0, 0, :20, :30].all() and inside[1, 0, :33, :10].all()


def test_masks_only_if_every_layout_with_objects_has_them():
    with_masks, empty = masked(1, (20, 30), "a"), masked(0, (20, 30), "b").without_masks()
    assert LayoutBatch.collate([with_masks, empty]).masks is not None
    assert LayoutBatch.collate([with_masks, with_masks.without_masks()]).masks is None
    assert LayoutBatch.collate([empty]).masks is None


def test_slots_are_at_least_one_and_can_be_asked_for():
    empty = masked(0, (20, 30), "a")
    assert LayoutBatch.collate([empty]).boxes.shape == (1, 1, 4)
    assert LayoutBatch.collate([empty], slots=4).labels.shape == (1, 4)
    with pytest.raises(LayoutError, match="3 objects do not fit into 2 slots"):
        LayoutBatch.collate([masked(3, (20, 30), "b")], slots=2)
    with pytest.raises(LayoutError, match="at least one layout"):
        LayoutBatch.collate([])


def test_moving_keeps_everything():
    batch = LayoutBatch.collate([masked(2, (20, 30), "a")])
    moved = batch.to("cpu")
    assert torch.equal(moved.masks, batch.masks) and moved.ids == batch.ids
    assert LayoutBatch.collate([masked(2, (20, 30), "a").without_masks()]).to("cpu").masks is None


def test_slots_follow_from_the_number_of_objects():
    assert [slots_for(objects) for objects in (0, 1, 4, 5, 8, 9, 64, 65)] == [4, 4, 4, 8, 8, 16, 64, 128]
