"""Redetection: how many objects of a layout a detector finds in the image."""

from collections.abc import Sequence
from typing import TypedDict

from detinv.layouts.boxes import pairwise_iou
from detinv.layouts.layout import Detections, Layout


class Redetection(TypedDict):
    """Counts over all layouts: `objects`, how many of them are `redetected`, and `false_positives`.

    A false positive is a detection above the score threshold that matches no object.
    """

    objects: int
    redetected: int
    false_positives: int


def redetection(
    layouts: Sequence[Layout],
    detections: Sequence[Detections],
    score_thresh: float = 0.5,
    iou_thresh: float = 0.5,
) -> Redetection:
    """Count the objects that are detected with the right class, and a score and an IoU above the thresholds.

    Matching is greedy, as in COCO: in order of descending score, each detection takes the object of its class that it
    overlaps most among those still unmatched. A second detection of an object is a false positive.

    Args:
        detections: one entry for each layout, in pixels of the layout's image.

    Raises:
        ValueError: when the two differ in length.
    """
    redetected = false_positives = 0
    for layout, found in zip(layouts, detections, strict=True):
        confident = found.above(score_thresh)
        same_class = confident.labels[:, None] == layout.labels
        iou = (pairwise_iou(confident.boxes.cpu().float(), layout.boxes.cpu()) * same_class.cpu()).tolist()
        free = set(range(len(layout)))
        for row in confident.scores.argsort(descending=True, stable=True).tolist():
            best = max(free, key=iou[row].__getitem__, default=None)
            if best is not None and iou[row][best] > iou_thresh:
                free.remove(best)
                redetected += 1
            else:
                false_positives += 1
    return {
        "objects": sum(len(layout) for layout in layouts),
        "redetected": redetected,
        "false_positives": false_positives,
    }
