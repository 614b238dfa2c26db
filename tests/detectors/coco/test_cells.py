"""FastestDet's cells are those of the guide's adapter."""

import importlib
import sys
from pathlib import Path

import pytest
import torch

from detinv.detectors.fastestdet.cells import CellAssigner, CellCodec
from detinv.detectors.heads.assigners import StaticAssigner
from detinv.detectors.heads.codec import BoxCodec
from detinv.detectors.heads.grid import around_corner, grid_cells

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "fastestdet"
ANCHORS = around_corner(grid_cells(6, 8, 16))


@pytest.fixture
def guide(monkeypatch):
    monkeypatch.syspath_prepend(str(GUIDE))
    yield importlib.import_module("adapter")
    for name in ("adapter", "fastestdet"):
        sys.modules.pop(name, None)


def boxes(count):
    generator = torch.Generator().manual_seed(0)
    centres = torch.rand(1, count, 2, generator=generator) * torch.tensor([128.0, 96.0])
    half = torch.rand(1, count, 2, generator=generator) * 40 + 2
    return torch.cat([centres - half, centres + half], dim=-1)


def test_boxes_are_described_as_in_the_guide(guide):
    ours, theirs = CellCodec(96, 128), guide.CellCodec(96, 128)
    assert isinstance(ours, BoxCodec)
    deltas = torch.randn(len(ANCHORS), 4, generator=torch.Generator().manual_seed(1))
    assert torch.equal(ours.decode(deltas, ANCHORS), theirs.decode(deltas, ANCHORS))
    many = boxes(len(ANCHORS))
    assert torch.equal(ours.encode(many[0], ANCHORS), theirs.encode(many[0], ANCHORS))
    assert torch.equal(ours.expresses(many, ANCHORS), theirs.expresses(many, ANCHORS))


def test_objects_train_the_cells_of_the_guide(guide):
    assert isinstance(CellAssigner(), StaticAssigner)
    some, valid = boxes(7), torch.tensor([[True] * 6 + [False]])
    ours = CellAssigner().assign(ANCHORS, (48,), some, valid)
    theirs = guide.CellAssigner().assign(ANCHORS, (48,), some, valid)
    for name in ("owner", "background", "candidates", "candidates_valid"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name)), name


def test_a_cell_is_measured_from_its_upper_left_corner():
    codec = CellCodec(96, 128)
    box = codec.decode(torch.zeros(1, 4), ANCHORS[9:10])
    assert box.tolist() == [[16 - 32, 16 - 24, 16 + 32, 16 + 24]]
