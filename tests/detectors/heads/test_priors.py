"""Rows, codec and assigner of heads with priors: formulas by hand, examples worked out, and whole detectors."""

import math

import pytest
import torch

from detinv.checks.adapter import check_adapter
from detinv.detectors.heads.assigners import StaticAssigner
from detinv.detectors.heads.codec import BoxCodec
from detinv.detectors.heads.grid import grid_cells
from detinv.detectors.heads.priors import PriorAssigner, PriorCodec, prior_rows
from detinv.inversion.preset import load_preset
from tests.yolo import KINDS, PRIORS, STRIDES, TinyYOLO

SIZE = (96, 128)


def rows():
    levels = [grid_cells(SIZE[0] // stride, SIZE[1] // stride, stride) for stride in STRIDES]
    return prior_rows(torch.cat(levels), [len(level) for level in levels], PRIORS)


ANCHORS, LEVEL_SIZES = rows()


def row_of(level, row, column, prior):
    return sum(LEVEL_SIZES[:level]) + (row * (SIZE[1] // STRIDES[level]) + column) * 2 + prior


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def test_rows_are_ordered_by_level_cell_and_prior():
    assert LEVEL_SIZES == (12 * 16 * 2, 6 * 8 * 2, 3 * 4 * 2)
    number = row_of(1, 2, 5, 1)
    assert ANCHORS[number].tolist() == [88 - 31, 40 - 22.5, 88 + 31, 40 + 22.5]
    codec = KINDS["v3"][0]
    assert codec.stride_of(ANCHORS)[[0, number, -1], 0].tolist() == [8, 16, 32]


@pytest.mark.parametrize("kind", KINDS)
def test_decoding_follows_the_published_formulas(kind):
    codec = KINDS[kind][0]
    assert isinstance(codec, BoxCodec)
    deltas = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    places = [(0, 3, 7, 0), (1, 2, 5, 1), (2, 1, 0, 0)]
    found = codec.decode(deltas, ANCHORS[[row_of(*place) for place in places]])
    for (dx, dy, dw, dh), box, (level, row, column, prior) in zip(deltas.tolist(), found.tolist(), places, strict=True):
        stride, (w, h) = STRIDES[level], PRIORS[level][prior]
        if kind == "v5":
            x, y = (2 * sigmoid(dx) - 0.5 + column) * stride, (2 * sigmoid(dy) - 0.5 + row) * stride
            w, h = w * (2 * sigmoid(dw)) ** 2, h * (2 * sigmoid(dh)) ** 2
        else:
            scale = {"v3": 1.0, "v4": 1.1}[kind]
            x = (scale * sigmoid(dx) - (scale - 1) / 2 + column) * stride
            y = (scale * sigmoid(dy) - (scale - 1) / 2 + row) * stride
            w, h = w * math.exp(dw), h * math.exp(dh)
        assert box == pytest.approx([x - w / 2, y - h / 2, x + w / 2, y + h / 2], abs=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_decoding_undoes_encoding_where_a_row_can_have_the_box(kind):
    codec = KINDS[kind][0]
    generator = torch.Generator().manual_seed(1)
    centres = (torch.rand(1, 200, 2, generator=generator) * torch.tensor([16.0, 12.0])).round() * 8
    half = torch.rand(1, 200, 2, generator=generator) * 40 + 2
    boxes = torch.cat([centres - half, centres + half], -1)
    objects, cells = codec.expresses(boxes, ANCHORS)[0].nonzero(as_tuple=True)
    assert len(objects.unique()) == 200, "centres on the edges of cells as well"
    again = codec.decode(codec.encode(boxes[0, objects], ANCHORS[cells]), ANCHORS[cells])
    torch.testing.assert_close(again, boxes[0, objects], atol=0.04, rtol=1e-3)


def test_rows_far_away_or_of_other_sizes_cannot_have_a_box():
    inside, beside = row_of(0, 3, 7, 0), row_of(0, 3, 8, 0)
    box = torch.tensor([[[56.0, 24, 66, 34]]])  # centre (61, 29): cell (3, 7), 0.625 of its width from the left
    assert KINDS["v3"][0].expresses(box, ANCHORS)[0, 0, [inside, beside]].tolist() == [True, False]
    assert KINDS["v5"][0].expresses(box, ANCHORS)[0, 0, [inside, beside]].tolist() == [True, True]
    wide = torch.tensor([[[20.0, 24, 102, 34]]])  # eight times as wide as the prior
    assert KINDS["v3"][0].expresses(wide, ANCHORS)[0, 0, inside]
    assert not KINDS["v5"][0].expresses(wide, ANCHORS)[0, 0, inside]


@pytest.mark.parametrize(
    ("strides", "priors", "said"),
    [((8,), PRIORS, "as many strides"), ((8, 16), (((1, 2),), ((1, 2),)), r"levels 0 and 1 share the prior \(1, 2\)")],
)
def test_priors_that_do_not_tell_levels_apart_are_refused(strides, priors, said):
    with pytest.raises(ValueError, match=said):
        PriorCodec(strides, priors)


def assign(kind, boxes, valid=None):
    codec, rule, iou_thresh = KINDS[kind]
    assigner = PriorAssigner(codec, rule, iou_thresh)
    assert isinstance(assigner, StaticAssigner)
    boxes = torch.tensor([boxes])
    valid = torch.ones(boxes.shape[:2], dtype=torch.bool) if valid is None else torch.tensor([valid])
    return assigner.assign(ANCHORS, LEVEL_SIZES, boxes, valid)


def owned(found, number):
    return (found.owner[0] == number).nonzero()[:, 0].tolist()


def test_v3_takes_the_prior_of_the_best_shape_in_the_cell_of_the_centre():
    found = assign("v3", [[50.0, 25, 110, 70]])  # 60 x 45 around (80, 47.5)
    assert owned(found, 0) == [row_of(1, 2, 4, 1), row_of(1, 2, 5, 1)], "a centre on an edge is in both cells"
    found = assign("v3", [[51.0, 25, 111, 70]])
    assert owned(found, 0) == [row_of(1, 2, 5, 1)]
    assert found.candidates[0, 0, 0] == row_of(1, 2, 5, 1)
    assert found.background[0].sum() == len(ANCHORS) - 1


def test_v4_takes_all_priors_above_a_shape_too():
    rows = owned(assign("v4", [[51.0, 25, 111, 70]]), 0)
    levels = {(0, 1): (5, 10), (1, 0): (2, 5), (1, 1): (2, 5), (2, 0): (1, 2), (2, 1): (1, 2)}
    shapes = {
        (level, prior): min(60, w) * min(45, h) for level in range(3) for prior, (w, h) in enumerate(PRIORS[level])
    }
    overlap = {key: both / (60 * 45 + math.prod(PRIORS[key[0]][key[1]]) - both) for key, both in shapes.items()}
    wanted = [row_of(key[0], *levels[key], key[1]) for key in sorted(levels) if overlap[key] > 0.213]
    assert rows == wanted and len(wanted) > 2


def test_v5_takes_all_priors_within_a_ratio_in_three_cells():
    found = assign("v5", [[57.0, 25, 67, 38]])  # 10 x 13 around (62, 31.5): cell (3, 7), lower right part
    near = [(3, 7), (3, 8), (4, 7)]
    wanted = sorted(row_of(0, *cell, prior) for cell in near for prior in (0, 1))
    coarse = [row_of(1, *cell, 0) for cell in [(1, 3), (1, 4), (2, 3)]]
    assert [row for row in owned(found, 0) if row < LEVEL_SIZES[0]] == wanted
    # 30 x 61 is 3 and 4.7 times as large.
    assert not set(coarse) & set(owned(found, 0))
    assert found.candidates[0, 0, 0] == row_of(0, 3, 7, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_has_one_owner_and_every_object_a_row(kind):
    boxes = [[40.0 + k, 30.0 + k, 70.0 + k, 91.0 + k] for k in (0.0, 0.5, 1.0)] + [[0.0, 0.0, 2.0, 90.0]]
    found = assign(kind, boxes)
    best = found.candidates[0, :, 0].tolist()
    assert len(set(best)) == 4
    assert [found.owner[0, row].item() for row in best] == [0, 1, 2, 3]
    assert found.candidates_valid[0, :, 0].all()
    taken = found.candidates[0][found.candidates_valid[0]]
    assert len(taken.unique()) == len(taken)


def test_empty_slots_change_nothing():
    boxes = [[40.0, 30, 70, 91], [51.0, 25, 111, 70]]
    alone, padded = assign("v5", boxes), assign("v5", [*boxes, [0.0, 0, 1, 1]], [True, True, False])
    assert padded.owner.tolist() == alone.owner.tolist()
    assert not padded.candidates_valid[0, 2].any()


@pytest.mark.parametrize(
    "kind", [kind if kind == "v5" else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]
)
def test_a_detector_made_of_them_keeps_the_contract(kind):
    detector = TinyYOLO(kind)
    # Targets move with the image, so the first few steps may raise the loss.
    found = check_adapter(detector, load_preset(), (SIZE,), steps=16)
    assert [verdict for verdict in found if verdict.holds is not True] == []
    assert [layer.stride for layer in detector.level_layers()] == list(STRIDES)
