import pytest
import torch

from detinv.detectors.heads.codec import BoxCodec
from detinv.detectors.heads.distances import PointCodec

ANCHORS = torch.tensor([[0.0, 0, 8, 8], [8, 0, 16, 8], [16, 16, 32, 32]])
CODECS = [PointCodec(), PointCodec(reach=15.0), PointCodec(unit=(64.0, 96.0))]


@pytest.mark.parametrize("codec", CODECS)
def test_decoding_undoes_encoding(codec):
    assert isinstance(codec, BoxCodec)
    boxes = torch.tensor([[1.0, 2, 30, 20], [9, 1, 10, 2], [17, 3, 60, 50]])
    torch.testing.assert_close(codec.decode(codec.encode(boxes, ANCHORS), ANCHORS), boxes)


def test_distances_are_in_sides_of_the_anchor_or_in_the_unit():
    deltas = torch.tensor([0.5, 1.0, 2.0, 0.25]).expand(3, 4)
    assert PointCodec().decode(deltas, ANCHORS)[2].tolist() == [16, 8, 56, 28]
    assert PointCodec(unit=(64.0, 96.0)).decode(deltas, ANCHORS)[2].tolist() == [-8, -72, 152, 48]


def test_a_negative_distance_puts_the_side_beyond_the_centre_and_keeps_its_gradient():
    deltas = torch.tensor([[-0.25, 1.0, 1.0, 1.0]], requires_grad=True)
    box = PointCodec().decode(deltas, ANCHORS[:1])
    assert box[0, 0] == 6
    assert torch.autograd.grad(box[0, 0], deltas)[0].tolist() == [[-8, 0, 0, 0]]


def test_only_points_inside_and_within_reach_express_a_box():
    boxes = torch.tensor([[[1.0, 1, 20, 7], [1, 1, 31, 31]]])
    assert PointCodec().expresses(boxes, ANCHORS).tolist() == [[[True, True, False], [True, True, True]]]
    assert PointCodec(reach=2.0).expresses(boxes, ANCHORS).tolist() == [[[True, True, False], [False, False, True]]]
