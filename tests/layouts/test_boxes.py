"""Box arithmetic against slow loops, torchvision, and its own laws."""

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st

from detinv.layouts.boxes import area, clip, generalized_iou, pairwise_iou

corner = st.integers(0, 60)
side = st.integers(1, 40)


@st.composite
def boxes(draw, least=1, most=5):
    rows = draw(st.lists(st.tuples(corner, corner, side, side), min_size=least, max_size=most))
    return torch.tensor([[x, y, x + w, y + h] for x, y, w, h in rows], dtype=torch.float64)


def slow_iou(a, b):
    shared = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


@given(boxes(), boxes())
@settings(max_examples=40, deadline=None)
def test_pairwise_iou_equals_slow_loop_and_torchvision(a, b):
    iou = pairwise_iou(a, b)
    expected = torch.tensor([[slow_iou(p, q) for q in b.tolist()] for p in a.tolist()], dtype=torch.float64)
    torch.testing.assert_close(iou, expected)
    torch.testing.assert_close(iou, torchvision.ops.box_iou(a, b))


@given(boxes(least=3, most=3), boxes(least=3, most=3))
@settings(max_examples=40, deadline=None)
def test_iou_and_giou_laws(a, b):
    iou, giou = pairwise_iou(a, b), generalized_iou(a, b)
    torch.testing.assert_close(iou, pairwise_iou(b, a).T)
    torch.testing.assert_close(giou, generalized_iou(b, a))
    assert ((iou >= 0) & (iou <= 1)).all()
    assert (giou <= iou.diagonal() + 1e-12).all() and (giou > -1).all()
    torch.testing.assert_close(generalized_iou(a, a), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(giou, torchvision.ops.generalized_box_iou(a, b).diagonal())


def test_pairwise_iou_of_a_batch_equals_loop_over_images():
    low = torch.rand(2, 5, 2) * 50
    stacked = torch.cat([low, low + 1 + torch.rand(2, 5, 2) * 30], dim=-1)
    a, b = stacked[:, :2], stacked[:, 2:]
    torch.testing.assert_close(pairwise_iou(a, b), torch.stack([pairwise_iou(p, q) for p, q in zip(a, b, strict=True)]))


def test_pairwise_iou_without_boxes_is_empty():
    assert pairwise_iou(torch.zeros(0, 4), torch.zeros(3, 4)).shape == (0, 3)


def test_area_of_a_reversed_box_is_zero():
    assert area(torch.tensor([[1.0, 2, 4, 6], [4, 2, 1, 6]])).tolist() == [12.0, 0.0]


def test_degenerate_boxes_give_no_nan():
    point = torch.tensor([[5.0, 5, 5, 5]], requires_grad=True)
    value = generalized_iou(point, torch.tensor([[5.0, 5, 5, 5]]))
    value.sum().backward()
    assert torch.isfinite(value).all() and torch.isfinite(point.grad).all()
    assert pairwise_iou(point.detach(), point.detach()).item() == 0


@pytest.mark.parametrize("other", [[3.0, 4, 9, 8], [20.0, 20, 30, 31]], ids=["overlapping", "apart"])
def test_giou_gradient(other):
    a = torch.tensor([[1.0, 2, 7, 6.5]], dtype=torch.float64, requires_grad=True)
    b = torch.tensor([other], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda boxes: generalized_iou(boxes, b), (a,))


def test_giou_pulls_boxes_that_do_not_touch_together():
    a = torch.tensor([[0.0, 0, 10, 10]], requires_grad=True)
    generalized_iou(a, torch.tensor([[20.0, 0, 30, 10]])).sum().backward()
    assert a.grad[0, 2] > 0


@given(boxes(), st.tuples(side, side))
@settings(max_examples=30, deadline=None)
def test_clip_is_idempotent_and_keeps_boxes_inside(a, size):
    limits = torch.tensor(size, dtype=torch.float64).expand(len(a), 2)
    once = clip(a - 10, limits)
    assert (once >= 0).all() and (once <= torch.cat([limits, limits], 1)).all()
    torch.testing.assert_close(clip(once, limits), once)
