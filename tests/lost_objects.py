"""A proof about errors that is the same for every family: what a threshold drops was lost by its score."""

from collections.abc import Sequence

import pytest
import torch
from jaxtyping import UInt8
from torch import Tensor

from detinv.attribution.load import load_method
from detinv.attribution.mistakes.cases import worst_cases
from detinv.attribution.mistakes.kinds import Kind
from detinv.attribution.mistakes.pictures import case_picture, explain_case
from detinv.attribution.mistakes.report import explain_errors
from detinv.attribution.mistakes.stages import Stage
from detinv.detectors.base import AbstractDetector
from detinv.layouts.boxes import clip, pairwise_iou
from detinv.layouts.layout import Layout


def assert_lost_by_score(detector: AbstractDetector, images: Sequence[UInt8[Tensor, "3 height width"]]) -> None:
    """Take detections for the objects of an image, and raise the threshold above the scores of all but the best.

    Args:
        images: of which one is used in which the detector finds enough.
    """
    image, truth, scores = _some_objects(detector, images)
    everything = explain_errors(detector, [image], [truth], score_thresh=0.0)
    assert set(everything.images[0].judged.objects) == {Kind.FOUND}
    best = scores.unique()[-2:]
    threshold = float(best.mean())
    report = explain_errors(detector, [image], [truth], score_thresh=threshold)
    (errors,) = report.images
    lost = 0
    for score, kind, loss in zip(scores.tolist(), errors.judged.objects, errors.losses, strict=True):
        if score > threshold:
            assert kind == Kind.FOUND
        elif loss is not None:
            assert loss.nearest is not None
            if loss.stage == Stage.LOW_SCORE:
                assert score - 1e-4 <= loss.nearest.score <= threshold
                lost += 1
            else:
                # Another row of its place, of its class or another one, exceeds the threshold.
                assert loss.stage in (Stage.OTHER_CLASS, Stage.SUPPRESSED, Stage.CLAIMED)
                assert max(one.score for one in (loss.winner, loss.nearest) if one is not None) > threshold
    assert lost
    assert all(candidate is not None for candidate in errors.candidates)
    for case in worst_cases(report, 1):
        maps = explain_case(detector, image, case, load_method("odam")).attributions
        assert len(maps) == len(case.asked) > 0
        assert all(bool(torch.isfinite(one.heat()).all()) for one in maps)
        assert case_picture(image, case, maps).shape[2] == 3


def _some_objects(detector: AbstractDetector, images: Sequence[Tensor]) -> tuple[Tensor, Layout, Tensor]:
    """Return an image, detections in it that overlap little as its objects, and their scores."""
    for image in images:
        size = (image.shape[1], image.shape[2])
        (found,) = detector.detect([image])
        boxes = clip(found.boxes, torch.tensor([float(size[1]), float(size[0])]).expand(len(found), 2))
        sides = boxes[:, 2:] - boxes[:, :2]
        inside = (pairwise_iou(boxes, found.boxes).diagonal() > 0.8) & (sides.amin(1) > 2)
        kept: list[int] = []
        # Small ones first: of large boxes, few fit into an image.
        for row in sides.prod(1).argsort().tolist():
            if inside[row] and (not kept or pairwise_iou(boxes[row][None], boxes[kept]).max() < 0.4):
                kept.append(row)
        scores = found.scores[kept]
        if len(kept) >= 3 and len(scores.unique()) >= 2:
            return image, Layout(boxes[kept], found.labels[kept], size, "found"), scores
    pytest.fail("the detector finds too little")
