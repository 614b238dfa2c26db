"""That the rows of detections are the ones they came from: the same proof for every family."""

from collections.abc import Sequence

import torch
from jaxtyping import UInt8
from torch import Tensor

from detinv.detectors.base import AbstractDetector
from detinv.detectors.canvas import on_canvas
from detinv.detectors.locate import BOX_TOLERANCE, SCORE_TOLERANCE, locate_rows
from detinv.detectors.regions import Regions
from detinv.detectors.targets import TargetRows, row_outputs
from detinv.layouts.boxes import clip


def assert_rows_are_those_of_detections(
    detector: AbstractDetector, images: Sequence[UInt8[Tensor, "3 height width"]], least: int = 10
) -> None:
    """Every detection has a row of its own, and what is decoded there is its box and score, in this pass and by region.

    Args:
        images: of any size.
        least: number of detections that there must be in all of them.
    """
    reported = detector.detect(images)
    count = 0
    for image, plain, found in zip(images, reported, locate_rows(detector, images, reported), strict=True):
        for name in ("boxes", "scores", "labels"):
            assert getattr(found, name).equal(getattr(plain, name)), "located detections are the detector's own"
        assert found.rows is not None and (found.rows >= 0).all(), f"{int((found.rows < 0).sum())} of {len(found)} lost"
        pairs = set(zip(found.rows.tolist(), found.labels.tolist(), strict=True))
        assert len(pairs) == len(found), "two detections of one row and class"
        count += len(found)

        pixels = on_canvas(detector, [detector.network_image(image)])
        size = detector.network_image(image).shape[1:]
        with torch.no_grad():
            predictions = detector(pixels, [tuple(size)])
            stage = predictions.roi or predictions.dense
            rows = TargetRows.of_detections(predictions, [found])
            outputs = [row_outputs(stage, rows)]
            if predictions.roi is not None:
                assert found.regions is not None
                height, width = found.image_size
                factors = torch.tensor([size[1] / width, size[0] / height] * 2)
                regions = Regions.of((found.regions * factors)[None].to(detector.device))
                again = detector(pixels, [tuple(size)], regions).roi
                given = TargetRows(rows.images, torch.arange(len(found)), rows.labels, given=True)
                outputs.append(row_outputs(again, given))
        for output in outputs:
            scores = output.scores().gather(1, rows.labels[:, None])[:, 0]
            torch.testing.assert_close(scores.cpu(), found.scores, atol=SCORE_TOLERANCE, rtol=0)
            boxes = output.boxes()
            if (predictions.roi or predictions.dense.head).post.clip != "never":
                boxes = clip(boxes, boxes.new_tensor([size[1], size[0]]).expand(len(boxes), 2))
            boxes = detector.boxes_in_image(boxes, tuple(size), found.image_size)
            torch.testing.assert_close(boxes.cpu(), found.boxes, atol=BOX_TOLERANCE, rtol=0)
    assert count >= least
