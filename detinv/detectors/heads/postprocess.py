"""What a detector reports, from its raw predictions and the post-processing it declares.

The inversion never runs this: it is how an adapter proves that its raw predictions are the detector's, how detections
are traced to their raw rows, and how a test sees what pseudo-targets would make of them.
"""

from collections.abc import Sequence

import torch

from detinv.detectors.heads.predictions import Predictions
from detinv.detectors.heads.trace import trace_dense, trace_second_stage
from detinv.layouts.layout import Detections


@torch.no_grad()
def postprocess(predictions: Predictions, image_sizes: Sequence[tuple[int, int]]) -> list[Detections]:
    """Return the detections of each image in the frame of the network's input: best first, with rows, without masks.

    Args:
        predictions: regions that the caller gave to a second stage take no part.
        image_sizes: (height, width) of each image on its canvas.
    """
    return [_reported(predictions, number, size) for number, size in enumerate(image_sizes)]


def _reported(predictions: Predictions, image: int, size: tuple[int, int]) -> Detections:
    dense, roi = predictions.dense, predictions.roi
    trace = trace_dense(dense, image, size) if roi is None else trace_second_stage(roi, image, size)
    best = trace.reported()
    rows, labels = best // trace.scores.shape[1], best % trace.scores.shape[1]
    names = rows if roi is not None or dense.identities is None else dense.identities[image, rows]
    regions = None if roi is None else roi.rois[image, rows]
    scores = trace.scores[rows, labels]
    return Detections(trace.box_of(best), scores, labels, size, rows=names, regions=regions).cpu()
