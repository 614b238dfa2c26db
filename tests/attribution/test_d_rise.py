"""Masks of D-RISE, and the candidates it compares with."""

import torch

from detinv.attribution.core.raw_outputs import raw_outputs
from detinv.attribution.methods.perturbations.d_rise import DRISE
from tests.fakes import tiny_detector


def pairs(method: DRISE, seed: int) -> torch.Tensor:
    """Return each mask beside its complement."""
    halves = [part.chunk(2) for part in method.batches((40, 56), seed)]
    return torch.stack([torch.cat(side) for side in zip(*halves, strict=True)])


def test_masks_do_not_depend_on_the_size_of_batches():
    many, few = (pairs(DRISE(masks=20, cells=4, batch_size=size), seed=3) for size in (16, 6))
    assert torch.equal(many, few)
    assert many.shape == (2, 10, 40, 56)
    torch.testing.assert_close(many.sum(0), torch.ones(10, 40, 56))
    assert not torch.equal(many, pairs(DRISE(masks=20, cells=4), seed=4))
    assert 0.3 < float(many[0].mean()) < 0.7


def test_no_batch_is_larger_than_asked_for_however_many_masks_there_are():
    assert {len(part) for part in DRISE(masks=24, batch_size=8).batches((8, 8), 0)} == {8}


def test_the_highest_rows_are_decoded_as_all_are():
    for family in ("retinanet", "fasterrcnn"):
        raw = raw_outputs(tiny_detector(family)(torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))))
        boxes, scores, best = raw.highest(5)
        rows = raw.scores.amax(2).topk(5, dim=1).indices
        for image in range(2):
            torch.testing.assert_close(boxes[image], raw.boxes()[image, rows[image]])
            assert torch.equal(scores[image], raw.scores[image, rows[image]])
        assert torch.equal(best, scores.amax(2))
        assert raw.highest(10**6)[0].shape[1] == raw.scores.shape[1]
