"""Average precision of a detector on held-out images."""

from detinv.detectors.base import AbstractDetector
from detinv.layouts.layout import Detections, Layout
from detinv.metrics.coco_ap import box_and_mask_ap
from detinv.training.datasets import HeldOut


def evaluate(detector: AbstractDetector, held_out: HeldOut) -> dict[str, float]:
    """Compute COCO's average precision of the detector's own inference, in percent.

    Returns:
        The entries of `average_precision` for boxes; the same for masks, named `mask_AP` and so on, if both the
        detector and the layouts have masks; and the numbers of images and objects.
    """
    layouts: list[Layout] = []
    detections: list[Detections] = []
    for index in range(len(held_out)):
        image, layout = held_out[index]
        layouts.append(layout)
        detections += detector.detect([image])
    scores = box_and_mask_ap(layouts, detections, detector.class_names)
    return scores | {"images": len(layouts), "objects": sum(len(layout) for layout in layouts)}
