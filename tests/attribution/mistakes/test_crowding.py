"""How crowded objects are, on a grid of cells whose rows are known."""

from dataclasses import replace

import pytest
import torch

from detinv.attribution.mistakes.crowding import Crowding, crowding
from detinv.detectors.fastestdet.cells import CellAssigner, CellCodec
from detinv.detectors.heads.grid import around_corner, grid_cells
from detinv.detectors.heads.predictions import DenseHead, DensePredictions, PostProcessing, Predictions
from detinv.layouts.layout import Layout

SIDE, STRIDE = 352, 16


def predictions(**head):
    cells = grid_cells(SIDE // STRIDE, SIDE // STRIDE, STRIDE)
    made = DenseHead(
        around_corner(cells), (len(cells),), CellCodec(SIDE, SIDE), CellAssigner(), PostProcessing(0.1, 0.45, 10, 10)
    )
    rows = torch.zeros(1, len(cells), 4)
    return Predictions(DensePredictions(rows, rows, replace(made, **head)))


def layout(boxes, labels):
    return Layout(torch.tensor(boxes), torch.tensor(labels), (SIDE, SIDE), "one")


def test_the_first_reason_that_applies_is_named():
    boxes = [[0.0, 0, 100, 100], [2.0, 0, 100, 100]]  # of one class, one above the other
    boxes += [[204.0, 204, 220, 220], [206.0, 206, 218, 218]]  # one centre
    boxes += [[224.0, 206, 232, 218]]  # its centre is one cell on
    boxes += [[300.0, 20, 340, 60], [250.0, 20, 316, 60]]  # far centres, but they overlap
    boxes += [[20.0, 300, 60, 340]]
    kinds = crowding(predictions(), layout(boxes, [0, 0, 0, 1, 2, 0, 1, 0]))
    assert kinds == [Crowding.SUPPRESSED] * 2 + [Crowding.SAME_ROW] * 2 + [Crowding.SOME_ROWS] + [
        Crowding.OVERLAPS,
        Crowding.OVERLAPS,
        Crowding.ALONE,
    ]


def test_objects_that_find_no_row_are_named_and_no_more_than_need_be():
    # Five boxes of other sizes around one centre, which four cells can have.
    boxes = [[196.0 - k, 196.0 - 2 * k, 212.0 + k, 212.0 + 2 * k] for k in (0, 4, 12, 30, 60)]
    kinds = crowding(predictions(), layout(boxes, [0, 1, 2, 3, 0]))
    assert kinds.count(Crowding.NO_ROW) == 1
    assert kinds.count(Crowding.SAME_ROW) == 4


def test_rows_that_are_matched_in_every_step_are_nobodys():
    post = PostProcessing(0.1, None, 10, 10)
    boxes = [[0.0, 0, 100, 100], [2.0, 0, 100, 100], [200.0, 200, 216, 216]]
    kinds = crowding(predictions(assigner=None, post=post), layout(boxes, [0, 0, 1]))
    assert kinds == [Crowding.OVERLAPS, Crowding.OVERLAPS, Crowding.ALONE]


@pytest.mark.parametrize("objects", [0, 1])
def test_few_objects(objects):
    one = layout([[20.0, 300, 60, 340]], [0]).select(torch.arange(1) < objects)
    assert crowding(predictions(), one) == [Crowding.ALONE] * objects
