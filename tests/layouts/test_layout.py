"""Layouts and detections: what they accept, refuse and turn into."""

from dataclasses import replace

import pytest
import torch
from jaxtyping import TypeCheckError

from detinv.errors import LayoutError
from detinv.layouts.batch import LayoutBatch
from detinv.layouts.layout import Detections, Layout
from tests.calls.checked import unchecked
from tests.pretended_device import DEVICE, PretendedDevice


def layout(boxes, labels=None, image_size=(20, 30), masks=None):
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    labels = torch.zeros(len(boxes), dtype=torch.int64) if labels is None else torch.tensor(labels)
    return Layout(boxes, labels, image_size, "a", masks)


def test_empty_layout_is_legal():
    assert len(layout([])) == 0
    assert layout([]).resized((40, 40)).image_size == (40, 40)


def test_box_on_the_border_is_legal():
    assert len(layout([[0, 0, 30, 20]])) == 1


@pytest.mark.parametrize(
    ("box", "problem"),
    [
        ([5, 5, 4, 9], "object 1: .*reversed or empty"),
        ([5, 5, 5, 9], "object 1: .*reversed or empty"),
        ([float("nan"), 5, 9, 9], "object 1: .*not finite"),
        ([1, 5, float("inf"), 9], "object 1: .*not finite"),
        ([1, 5, 31, 9], "object 1: .*outside its image of 30 x 20"),
        ([1, -1, 3, 9], "object 1: .*outside"),
    ],
)
def test_bad_box_is_named(box, problem):
    with pytest.raises(LayoutError, match=problem):
        layout([[1, 1, 5, 5], box])


def test_other_disagreements_are_refused():
    with pytest.raises(LayoutError, match="object 0: label -1 is negative"):
        layout([[1, 1, 5, 5]], labels=[-1])
    # Where shapes are checked at run time, that check speaks first.
    with pytest.raises((LayoutError, TypeCheckError)):
        layout([[1, 1, 5, 5]], labels=[0, 1])
    with pytest.raises(LayoutError, match="image size 0 x 5 must be whole pixels"):
        layout([], image_size=(0, 5))
    with pytest.raises(LayoutError, match=r"masks must be \(1, 20, 30\)"):
        layout([[1, 1, 5, 5]], masks=torch.ones(1, 30, 20, dtype=torch.bool))


def test_other_types_are_converted_or_refused():
    boxes, labels = torch.tensor([[1, 1, 5, 5]]), torch.tensor([2], dtype=torch.int32)
    with unchecked():
        given = Layout(boxes, labels, [20, 30], "a", torch.full((1, 20, 30), 255).to(torch.uint8))
        for one, size in ((given, (20, 30)), (given.resized([40, 60]), (40, 60))):
            assert (one.boxes.dtype, one.labels.dtype, one.masks.dtype) == (torch.float32, torch.int64, torch.bool)
            assert one.image_size == size
        assert Layout(torch.zeros(0, 4), torch.tensor([]), (20, 30), "empty").labels.dtype == torch.int64


@pytest.mark.parametrize(
    ("labels", "masks", "height", "told"),
    [
        ([1.7], None, 20, "layout a: labels must be whole numbers, got torch.float32"),
        ([1], torch.rand(1, 20, 30), 20, "layout a: masks must be true or false, got torch.float32"),
        ([1], None, 20.5, "layout a: image size 20.5 x 30 must be whole pixels, at least 1 x 1"),
    ],
)
def test_what_cannot_be_converted_is_refused(labels, masks, height, told):
    with unchecked(), pytest.raises(LayoutError) as error:
        Layout(torch.tensor([[1, 1, 5, 5]]), torch.tensor(labels), (height, 30), "a", masks)
    assert str(error.value) == told


def test_resized_scales_boxes_and_masks_alike():
    masks = torch.zeros(1, 20, 30, dtype=torch.bool)
    masks[0, 4:8, 6:15] = True
    small = layout([[6, 4, 15, 8]], masks=masks)
    large = small.resized((40, 90))
    assert large.boxes.tolist() == [[18, 8, 45, 16]]
    expected = torch.zeros(1, 40, 90, dtype=torch.bool)
    expected[0, 8:16, 18:45] = True
    assert torch.equal(large.masks, expected)
    back = large.resized((20, 30))
    assert torch.equal(back.boxes, small.boxes) and torch.equal(back.masks, masks)
    assert small.resized((20, 30)) is small


def test_resized_box_never_leaves_the_frame():
    full = layout([[0, 0, 30, 20]])
    for size in [(7, 13), (333, 101), (1, 1)]:
        assert full.resized(size).boxes.tolist() == [[0, 0, size[1], size[0]]]


def test_from_masks_gives_tight_boxes():
    masks = torch.zeros(2, 20, 30, dtype=torch.bool)
    masks[0, 3:9, 4:11] = True
    masks[1, 0, 29] = True
    found = Layout.from_masks(masks, torch.tensor([1, 0]), "m")
    assert found.boxes.tolist() == [[4, 3, 11, 9], [29, 0, 30, 1]]
    with pytest.raises(LayoutError, match="object 0: its mask is empty"):
        Layout.from_masks(torch.zeros(1, 4, 4, dtype=torch.bool), torch.tensor([0]), "m")


def test_select_and_without_masks():
    masks = torch.eye(3, dtype=torch.bool)[:, None].expand(3, 20, 3).repeat(1, 1, 10)
    three = layout([[0, 0, 5, 5], [1, 1, 6, 6], [2, 2, 7, 7]], labels=[0, 1, 2], masks=masks)
    two = three.select(torch.tensor([True, False, True]))
    assert two.labels.tolist() == [0, 2] and torch.equal(two.masks, masks[[0, 2]])
    assert two.without_masks().masks is None and three.masks is not None


def test_detections_above_a_score():
    found = Detections(
        torch.tensor([[0.0, 0, 5, 5], [1, 1, 6, 6]]),
        torch.tensor([0.5, 0.7]),
        torch.tensor([0, 1]),
        (10, 10),
        torch.eye(2, dtype=torch.bool)[:, :, None].expand(2, 2, 2).repeat(1, 5, 5),
    )
    kept = found.above(0.5)
    assert kept.labels.tolist() == [1] and torch.equal(kept.masks, found.masks[1:])
    with pytest.raises((ValueError, TypeCheckError)):
        Detections(torch.zeros(2, 4), torch.zeros(1), torch.zeros(2, dtype=torch.int64), (5, 5))


def detections():
    return Detections(
        torch.tensor([[0.0, 0, 5, 5], [1, 1, 6, 6], [2, 2, 7, 7]]),
        torch.tensor([0.5, 0.7, 0.2]),
        torch.tensor([0, 1, 1]),
        (10, 10),
        torch.eye(3, dtype=torch.bool)[:, :, None].expand(3, 3, 4),
        torch.tensor([40, -1, 7]),
        torch.tensor([[0.0, 0, 4, 4], [torch.nan] * 4, [2, 2, 8, 8]]),
    )


@pytest.mark.parametrize("keep", [torch.tensor([True, False, True]), torch.tensor([2, 0])])
def test_selected_detections_keep_what_belongs_to_them(keep):
    found, kept = detections(), detections().select(keep)
    for name in ("boxes", "scores", "labels", "masks", "rows", "regions"):
        assert torch.equal(getattr(kept, name), getattr(found, name)[keep]), name
    assert kept.image_size == (10, 10)


def test_detections_above_a_score_keep_their_rows():
    assert detections().above(0.4).rows.tolist() == [40, -1]


def test_rows_are_optional_and_one_for_each_detection():
    found = Detections(torch.zeros(1, 4), torch.zeros(1), torch.zeros(1, dtype=torch.int64), (5, 5))
    assert found.rows is None and found.select(torch.tensor([0])).rows is None
    with pytest.raises((ValueError, TypeCheckError), match="1 labels, but 2 rows|rows"):
        replace(found, rows=torch.tensor([1, 2]))


def test_a_layout_on_another_device_stays_there_and_keeps_its_numbers():
    masks = torch.zeros(2, 20, 30, dtype=torch.bool)
    masks[0, 2:6, 3:9] = masks[1, 1:4, 1:5] = True
    here = Layout.from_masks(masks, torch.tensor([0, 1]), "a")
    with PretendedDevice():
        there = Layout.from_masks(masks.to(DEVICE), torch.tensor([0, 1]).to(DEVICE), "a")
        for change in (
            lambda one: one.resized((40, 45)),
            lambda one: one.select(torch.tensor([False, True], device=one.boxes.device)),
        ):
            found, wanted = change(there), change(here)
            assert found.boxes.device == found.masks.device == DEVICE
            torch.testing.assert_close(found.boxes.cpu(), wanted.boxes)
            assert found.masks.cpu().equal(wanted.masks)
        assert LayoutBatch.collate([there]).boxes.equal(LayoutBatch.collate([here]).boxes)
