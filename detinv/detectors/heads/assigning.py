"""Asks the assigner of a head which rows the objects of layouts train."""

from detinv.detectors.heads.assigners import Assignment, DynamicAssigner
from detinv.detectors.heads.predictions import DensePredictions
from detinv.layouts.batch import LayoutBatch


def assign_rows(predictions: DensePredictions, layouts: LayoutBatch) -> Assignment:
    """Return the rows that training would assign to the objects of `layouts`.

    Args:
        predictions: detached; assigners that look at predictions see these.
        layouts: of as many images.

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
            predictions.boxes(),
        )
    return assigner.assign(head.anchors, head.level_sizes, layouts.boxes, layouts.valid)
