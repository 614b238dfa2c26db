"""No row belongs to two objects, in crowds as well: neither as its own nor as a candidate."""

import pytest
import torch

from detinv.detectors.fastestdet.cells import CellAssigner
from detinv.detectors.heads.assigners import AnchorAssigner, PointAssigner
from detinv.detectors.heads.grid import around_corner, grid_cells
from detinv.detectors.nanodet.atss import ATSSAssigner

CELLS = torch.cat([grid_cells(16, 16, 8), grid_cells(8, 8, 16), grid_cells(4, 4, 32)])
LEVELS = (256, 64, 16)


def crowds(objects=12, count=20):
    generator = torch.Generator().manual_seed(0)
    sides = 6 + 50 * torch.rand(count, objects, 2, generator=generator)
    corner = (128 - sides) * torch.rand(count, objects, 2, generator=generator)
    return torch.cat([corner, corner + sides], dim=-1)


@pytest.mark.parametrize(
    ("assigner", "anchors"),
    [
        (AnchorAssigner(0.5, 0.4, 0.4), CELLS + 16 * CELLS.new_tensor([-1, -1, 1, 1])),
        (PointAssigner(), CELLS),
        (ATSSAssigner(), CELLS),
        (CellAssigner(), around_corner(CELLS)),
    ],
)
def test_a_row_of_an_object_belongs_to_no_other(assigner, anchors):
    boxes = crowds()
    valid = torch.ones(boxes.shape[:2], dtype=torch.bool)
    found = assigner.assign(anchors, LEVELS, boxes, valid)
    numbers = torch.arange(boxes.shape[1])[:, None]
    owners = found.owner.gather(1, found.candidates.flatten(1)).view_as(found.candidates)
    assert (owners[..., :1] == numbers).all(), "the first candidate is the object's own"
    assert ((owners == numbers) | (owners < 0) | ~found.candidates_valid).all()
