"""What a detector reports, from its raw predictions and the post-processing it declares.

The inversion never runs this: it is how an adapter proves that its raw predictions are the detector's, how detections
are traced to their raw rows, and how a test sees what pseudo-targets would make of them.
"""

from collections.abc import Sequence

import torch

from detinv.detectors.heads.predictions import Predictions
from detinv.detectors.heads.trace import Fate, Trace, trace_dense, trace_second_stage
from detinv.layouts.layout import Detections


@torch.no_grad()
def postprocess(predictions: Predictions, image_sizes: Sequence[tuple[int, int]]) -> list[Detections]:
    """Return the detections of each image in the frame of the network's input: best first, with rows, without masks.

    Args:
        predictions: regions that the caller gave to a second stage take no part.
        image_sizes: (height, width) of each image on its canvas.
    """
    return [_reported(predictions, number, size) for number, size in enumerate(image_sizes)]


@torch.no_grad()
def kept_out_by_limits(
    predictions: Predictions, image: int, size: tuple[int, int], found: Detections, box_error: float, score_error: float
) -> list[bool]:
    """Tell of each of some detections whether it is a candidate that only the number of better ones kept out.

    Args:
        image: its number in the batch.
        size: its (height, width) on the canvas.
        found: in the frame of the network's input.
        box_error, score_error: how far a candidate's box and score may lie from a detection's, in pixels and in scores.
    """
    trace = _trace(predictions, image, size).cpu()
    fates, scores = trace.fates.flatten(), trace.scores.flatten()
    beyond = ((fates == Fate.BEYOND_CANDIDATES) | (fates == Fate.BEYOND_DETECTIONS)).nonzero()[:, 0]
    told = []
    for box, score, label in zip(found.boxes, found.scores, found.labels, strict=True):
        alike = (beyond % trace.scores.shape[1] == label) & ((scores[beyond] - score).abs() <= score_error)
        apart = (trace.box_of(beyond[alike]) - box).abs().amax(-1)
        told.append(bool((apart <= box_error).any()))
    return told


def _trace(predictions: Predictions, image: int, size: tuple[int, int]) -> Trace:
    if predictions.roi is None:
        return trace_dense(predictions.dense, image, size)
    return trace_second_stage(predictions.roi, image, size)


def _reported(predictions: Predictions, image: int, size: tuple[int, int]) -> Detections:
    dense, roi = predictions.dense, predictions.roi
    trace = _trace(predictions, image, size)
    best = trace.reported()
    rows, labels = best // trace.scores.shape[1], best % trace.scores.shape[1]
    names = rows if roi is not None or dense.identities is None else dense.identities[image, rows]
    regions = None if roi is None else roi.rois[image, rows]
    scores = trace.scores[rows, labels]
    return Detections(trace.box_of(best), scores, labels, size, rows=names, regions=regions).cpu()
