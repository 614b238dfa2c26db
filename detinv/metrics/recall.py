"""Average recall: how well objects are found, one number for each object."""

from collections.abc import Sequence

import torch

from detinv.layouts.boxes import pairwise_iou
from detinv.layouts.layout import Detections, Layout

_IOU_THRESHOLDS = tuple(0.5 + 0.05 * k for k in range(10))
# Overlaps are compared in single precision.
_ROUNDING = 1e-6


def object_recall(layouts: Sequence[Layout], detections: Sequence[Detections]) -> list[list[float]]:
    """Return for each object the share of COCO's ten IoU thresholds at which some detection of its class finds it.

    The mean over objects is the average recall (AR), but for two departures from COCO's: objects count alike, whatever
    their class, and one detection may find several objects. Unlike average precision it is a mean of independent
    numbers, so few images suffice for a narrow interval.

    Args:
        detections: one entry for each layout, in pixels of the layout's image; all count, whatever their score.

    Returns:
        one list for each layout, one value in [0, 1] for each of its objects.

    Raises:
        ValueError: when layouts and detections differ in number.
    """
    found = []
    for layout, seen in zip(layouts, detections, strict=True):
        boxes, labels = layout.boxes.cpu(), layout.labels.cpu()
        iou = pairwise_iou(boxes, seen.boxes.cpu().float()) * (labels[:, None] == seen.labels.cpu())
        best = iou.amax(1) if len(seen) else torch.zeros(len(layout))
        reached = [best >= threshold - _ROUNDING for threshold in _IOU_THRESHOLDS]
        found.append(torch.stack(reached).float().mean(0).tolist())
    return found
