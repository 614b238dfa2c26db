"""Regions pooled without sorting them by level are Detectron2's to the last bit."""

import warnings

import pytest
import torch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what torch says about how Detectron2 is made
    pytest.importorskip("detectron2.modeling", reason="needs Detectron2, see its own guide")
    from detectron2.modeling.poolers import ROIPooler
    from detectron2.structures import Boxes

    from detinv.detectors.detectron2.pooling import LevelPooler

pytestmark = pytest.mark.detectron2


@pytest.mark.parametrize("sampling_ratio", [0, 2])
@pytest.mark.parametrize("kind", ["ROIAlign", "ROIAlignV2"])
def test_features_and_gradient_are_detectron2s(kind, sampling_ratio):
    ordinary = ROIPooler(7, (1 / 4, 1 / 8, 1 / 16), sampling_ratio, kind, canonical_box_size=32, canonical_level=3)
    assert LevelPooler.suits(ordinary)
    generator = torch.Generator().manual_seed(0)
    levels = [torch.randn(2, 8, 64 // s, 64 // s, generator=generator).requires_grad_() for s in (1, 2, 4)]
    one, other = torch.tensor([[0.0, 0, 9, 9], [3, 5, 40, 60], [-5, 0, 300, 260]]), torch.tensor([[1.0, 2, 200, 250]])
    boxes = [Boxes(one), Boxes(other)]
    expected, found = ordinary(levels, boxes), LevelPooler(ordinary)(levels, boxes)
    assert torch.equal(found, expected)
    upstream = torch.randn(expected.shape, generator=generator)
    wanted, given = (torch.autograd.grad(output, levels, upstream) for output in (expected, found))
    for first, second in zip(wanted, given, strict=True):
        assert first.any() and torch.equal(first, second)


def test_a_single_level_and_other_pooling_are_left_alone():
    assert not LevelPooler.suits(ROIPooler(7, (1 / 4,), 2, "ROIAlign"))
    assert not LevelPooler.suits(ROIPooler(7, (1 / 4, 1 / 8), 2, "ROIPool"))
    assert not LevelPooler.suits(None)
