"""SimOTA against its description, written down for one image and one object at a time."""

import math

import pytest
import torch

from detinv.detectors.heads.assigners import DynamicAssigner
from detinv.detectors.heads.grid import around_corner, grid_cells
from detinv.detectors.yolox.simota import SimOTAAssigner
from detinv.layouts.boxes import pairwise_iou

LEVELS = (8, 16)
SIDE, CLASSES = 64, 3


def cells():
    levels = [grid_cells(SIDE // stride, SIDE // stride, stride) for stride in LEVELS]
    return torch.cat(levels), tuple(map(len, levels))


def drawn(seed, boxes):
    """Scores and decoded boxes: some of them near the objects."""
    generator = torch.Generator().manual_seed(seed)
    grid, sizes = cells()
    logs = torch.rand(1, len(grid), CLASSES, generator=generator).clamp(0.01, 0.99).log()
    targets = torch.tensor(boxes)[torch.randint(len(boxes), (len(grid),), generator=generator)]
    decoded = targets + 8 * torch.randn(len(grid), 4, generator=generator)
    decoded = torch.cat([torch.minimum(decoded[:, :2], decoded[:, 2:] - 1), decoded[:, 2:]], dim=1)
    return around_corner(grid), sizes, logs, decoded[None]


def assign(boxes, labels, seed=0, valid=None):
    anchors, sizes, logs, decoded = drawn(seed, boxes)
    valid = [True] * len(boxes) if valid is None else valid
    assigner = SimOTAAssigner()
    assert isinstance(assigner, DynamicAssigner)
    found = assigner.assign_predicted(
        anchors,
        sizes,
        torch.tensor([boxes]),
        torch.tensor([labels]),
        torch.tensor([valid]),
        logs,
        decoded,
    )
    return found, logs[0], decoded[0]


def described(boxes, labels, logs, decoded):
    """Owner of each row, and its IoU, step by step as the paper and the published code say."""
    grid, _ = cells()
    iou = pairwise_iou(torch.tensor(boxes), decoded)
    costs, places = {}, {}
    for row, (x0, y0, x1, y1) in enumerate(grid.tolist()):
        x, y, stride = (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0
        for number, (left, top, right, bottom) in enumerate(boxes):
            inside = left < x < right and top < y < bottom
            near = abs(x - (left + right) / 2) < 2.5 * stride and abs(y - (top + bottom) / 2) < 2.5 * stride
            places[number, row] = (inside, near)
            roots = [math.exp(value / 2) for value in logs[row].tolist()]
            entropy = -sum(math.log(p) if k == labels[number] else math.log(1 - p) for k, p in enumerate(roots))
            overlap = max(float(iou[number, row]), 1e-8)
            costs[number, row] = entropy - 3 * math.log(overlap) + (0 if inside and near else 1e5)
    rows = [row for row in range(len(grid)) if any(any(places[number, row]) for number in range(len(boxes)))]
    takers = {}
    for number in range(len(boxes)):
        highest = sorted((float(iou[number, row]) for row in rows), reverse=True)[:10]
        count = max(int(sum(highest)), 1)
        for row in sorted(rows, key=lambda row: costs[number, row])[:count]:
            takers.setdefault(row, []).append(number)
    owner = [-1] * len(grid)
    for row, numbers in takers.items():
        owner[row] = min(numbers, key=lambda number: costs[number, row])
    return owner, iou


@pytest.mark.parametrize("seed", range(6))
def test_rows_are_those_of_the_description(seed):
    boxes, labels = [[4.0, 6, 40, 50], [20.0, 10, 60, 30], [30.0, 34, 62, 62]], [0, 1, 0]
    found, logs, decoded = assign(boxes, labels, seed)
    owner, iou = described(boxes, labels, logs, decoded)
    assert found.owner[0].tolist() == owner
    assert len(set(owner)) == 4
    assert torch.equal(found.background[0], found.owner[0] < 0)
    for number in range(3):
        best = int(found.candidates[0, number, 0])
        assert owner[best] == number and found.strength[0, best] == 1
        for row in (row for row, slot in enumerate(owner) if slot == number and row != best):
            assert found.strength[0, row] == pytest.approx(float(iou[number, row]), abs=1e-5)


def test_every_object_has_a_row_of_its_own_even_in_a_crowd():
    boxes = [[20.0 + k / 8, 20, 30 + k / 8, 30] for k in range(9)]
    found, _, _ = assign(boxes, [0] * 9)
    best = found.candidates[0, :, 0].tolist()
    assert len(set(best)) == 9
    assert [int(found.owner[0, row]) for row in best] == list(range(9))


def test_empty_slots_own_nothing_and_change_nothing():
    boxes, labels = [[4.0, 6, 40, 50], [20.0, 10, 60, 30]], [0, 1]
    alone, _, _ = assign(boxes, labels)
    anchors, sizes, logs, decoded = drawn(0, boxes)
    padded = SimOTAAssigner().assign_predicted(
        anchors,
        sizes,
        torch.tensor([[*boxes, [0.0, 0, 1, 1]]]),
        torch.tensor([[0, 1, 0]]),
        torch.tensor([[True, True, False]]),
        logs,
        decoded,
    )
    assert torch.equal(padded.owner, alone.owner)
    assert torch.equal(padded.strength, alone.strength)
    assert not padded.candidates_valid[0, 2].any()
