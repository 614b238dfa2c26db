"""Asks the assigner of a head which rows the objects of layouts train."""

from jaxtyping import Float
from torch import Tensor

from detinv.detectors.heads.assigners import Assignment, DynamicAssigner
from detinv.detectors.heads.predictions import DensePredictions
from detinv.layouts.batch import LayoutBatch


def assign_rows(
    predictions: DensePredictions, layouts: LayoutBatch, boxes: Float[Tensor, "batch anchor 4"] | None = None
) -> Assignment:
    """Return the rows that training would assign to the objects of `layouts`.

    Args:
        predictions: detached; assigners that look at predictions see these.
        layouts: of as many images.
        boxes: those that such assigners see, XYXY in pixels; by default as predicted.

    Raises:
        ValueError: for a head without suppression, which has no assigner.
    """
    head, assigner = predictions.head, predictions.head.assigner
    if assigner is None:
        raise ValueError("a head without suppression has no assigner")
    if isinstance(assigner, DynamicAssigner):
        return assigner.assign_predicted(
            head.anchors,
            head.level_sizes,
            layouts.boxes,
            layouts.labels,
            layouts.valid,
            predictions.log_scores(),
            predictions.boxes() if boxes is None else boxes,
        )
    return assigner.assign(head.anchors, head.level_sizes, layouts.boxes, layouts.valid)
