"""ATSS against its description, written down for one object at a time."""

import pytest
import torch

from detinv.detectors.heads.assigners import StaticAssigner
from detinv.detectors.heads.grid import grid_cells
from detinv.detectors.nanodet.atss import ATSSAssigner
from detinv.layouts.boxes import pairwise_iou

STRIDES, SIDE = (8, 16, 32), 128


def cells():
    levels = [grid_cells(SIDE // stride, SIDE // stride, stride) for stride in STRIDES]
    return torch.cat(levels), tuple(map(len, levels))


def assign(boxes, valid=None):
    anchors, sizes = cells()
    valid = [True] * len(boxes) if valid is None else valid
    assigner = ATSSAssigner()
    assert isinstance(assigner, StaticAssigner)
    return assigner.assign(anchors, sizes, torch.tensor([boxes]), torch.tensor([valid]))


def described(boxes):
    """Owner of each row, step by step as in algorithm 1."""
    grid, sizes = cells()
    points = (grid[:, :2] + grid[:, 2:]) / 2
    reach = 2.5 * (grid[:, 2:] - grid[:, :2])
    iou = pairwise_iou(torch.tensor(boxes), torch.cat([points - reach, points + reach], dim=1))
    owner = [-1] * len(grid)
    for number, (left, top, right, bottom) in enumerate(boxes):
        centre = torch.tensor([(left + right) / 2, (top + bottom) / 2])
        distance = (points - centre).norm(dim=1)
        near, start = [], 0
        for size in sizes:
            near += (distance[start : start + size].argsort(stable=True)[:9] + start).tolist()
            start += size
        threshold = iou[number, near].mean() + iou[number, near].std()
        for row in near:
            x, y = points[row].tolist()
            positive = iou[number, row] >= threshold and left < x < right and top < y < bottom
            if positive and (owner[row] < 0 or iou[number, row] > iou[owner[row], row]):
                owner[row] = number
    return owner, iou


# Corners at odd places, so that no two rows are equally near.
LAYOUTS = [
    [[10.3, 11.1, 60.7, 90.2]],
    [[10.3, 11.1, 60.7, 90.2], [30.9, 40.3, 121.4, 110.8], [3.3, 100.1, 25.2, 124.6]],
    [[20.2, 20.9, 70.1, 72.3], [25.7, 22.6, 78.4, 77.7]],
]


@pytest.mark.parametrize("boxes", LAYOUTS)
def test_rows_are_those_of_the_description(boxes):
    found = assign(boxes)
    owner, iou = described(boxes)
    assert found.owner[0].tolist() == owner
    assert set(owner) == {-1, *range(len(boxes))}
    for number in range(len(boxes)):
        rows = [row for row, slot in enumerate(owner) if slot == number]
        chosen = found.candidates[0, number][found.candidates_valid[0, number]].tolist()
        assert set(chosen) <= set(rows) and len(chosen) == min(len(rows), 16)
        assert chosen[0] == max(rows, key=lambda row: float(iou[number, row]))


def test_every_object_has_a_row_of_its_own_even_in_a_crowd():
    found = assign([[60.0 + k / 4, 60.3, 64 + k / 4, 64.1] for k in range(7)])
    best = found.candidates[0, :, 0].tolist()
    assert len(set(best)) == 7
    assert [int(found.owner[0, row]) for row in best] == list(range(7))


def test_empty_slots_own_nothing_and_change_nothing():
    boxes = LAYOUTS[1]
    alone, padded = assign(boxes), assign([*boxes, [0.0, 0, 1, 1]], [True] * 3 + [False])
    assert torch.equal(padded.owner, alone.owner)
    assert torch.equal(padded.candidates[:, :3], alone.candidates)
    assert not padded.candidates_valid[0, 3].any()
    nothing = assign([[0.0, 0, 1, 1]], [False])
    assert (nothing.owner == -1).all() and nothing.background.all()
