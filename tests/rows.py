"""Proofs about the rows of detections that are the same for every family."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import UInt8
from torch import Tensor

from detinv.detectors.base import AbstractDetector
from detinv.detectors.canvas import on_canvas
from detinv.detectors.locate import BOX_TOLERANCE, SCORE_TOLERANCE, locate_rows
from detinv.detectors.regions import Regions
from detinv.detectors.rows import TargetRows, row_outputs
from detinv.detectors.targets import questions, target_values
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


def assert_every_question_has_a_gradient(detector: AbstractDetector, image: UInt8[Tensor, "3 height width"]) -> None:
    """Every scalar of three detections is finite, and its gradient to the pixels is finite and not zero."""
    (found,) = locate_rows(detector, [image], detector.detect([image]))
    found = found.select(torch.linspace(0, len(found) - 1, 3).long())
    pixels = on_canvas(detector, [detector.network_image(image)]).requires_grad_()
    first = detector(pixels)
    wider = (found.boxes + torch.tensor([-2.0, -2, 2, 2])).to(detector.device)
    own = TargetRows.of_detections(first, [found])
    asked = [(first, replace(own, boxes=wider), None)]
    if first.roi is not None:
        assert found.regions is not None
        regions = detector(pixels, regions=Regions.of(found.regions[None].to(detector.device)))
        slots = torch.arange(len(found))
        given = TargetRows(own.images, slots, own.labels, given=True, boxes=wider)
        asked.append((regions, replace(given, proposal_rows=first.roi.sources[own.images, own.rows]), own))
    for predictions, rows, same in asked:
        for question in questions(predictions):
            values = target_values(predictions, rows, question)
            assert values.isfinite().all(), question
            if same is not None and question not in ("mask", "box"):
                torch.testing.assert_close(values, target_values(first, same, question), atol=1e-3, rtol=1e-4)
                continue
            # Of one detection, because each takes a pass backwards.
            (gradient,) = torch.autograd.grad(values[-1], pixels, retain_graph=True)
            assert gradient.isfinite().all() and gradient.any(), question
