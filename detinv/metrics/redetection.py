"""Redetection: how many objects of a layout a detector finds in the image."""

from collections.abc import Sequence
from typing import TypedDict

import torch

from detinv.layouts.boxes import area, pairwise_iou
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
    crowds: Sequence[Layout] | None = None,
) -> Redetection:
    """Count the objects that are detected with the right class, and a score and an IoU above the thresholds.

    Matching is greedy, as in COCO: in order of descending score, each detection takes the object of its class that it
    overlaps most among those still unmatched. A second detection of an object is a false positive, unless it lies in a
    crowd of its class: more than `iou_thresh` of its own area, as COCO counts.

    Args:
        detections: one entry for each layout, in pixels of the layout's image.
        crowds: one entry for each layout, the regions in which objects of a class were not told apart; by default none.

    Raises:
        ValueError: when the two differ in length.
    """
    redetected = false_positives = 0
    of_images = [None] * len(layouts) if crowds is None else crowds
    for layout, found, crowd in zip(layouts, detections, of_images, strict=True):
        confident = found.above(score_thresh)
        same_class = confident.labels[:, None] == layout.labels
        iou = (pairwise_iou(confident.boxes.cpu().float(), layout.boxes.cpu()) * same_class.cpu()).tolist()
        free = set(range(len(layout)))
        for row in confident.scores.argsort(descending=True, stable=True).tolist():
            best = max(free, key=iou[row].__getitem__, default=None)
            if best is not None and iou[row][best] > iou_thresh:
                free.remove(best)
                redetected += 1
            elif crowd is None or not _lies_in(confident.select(torch.tensor([row])), crowd, iou_thresh):
                false_positives += 1
    return {
        "objects": sum(len(layout) for layout in layouts),
        "redetected": redetected,
        "false_positives": false_positives,
    }


def _lies_in(detection: Detections, crowd: Layout, share: float) -> bool:
    """Tell whether more than `share` of a detection's box lies in one of the crowds of its class."""
    box, others = detection.boxes.cpu().float(), crowd.boxes[crowd.labels == detection.labels.cpu()]
    shared = area(torch.cat([torch.maximum(box[:, :2], others[:, :2]), torch.minimum(box[:, 2:], others[:, 2:])], 1))
    return bool((shared > share * area(box)).any())
