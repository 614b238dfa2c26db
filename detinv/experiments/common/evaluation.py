"""Evaluation of inverted images by a detector that took no part in the inversion: boxes and classes apart."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import UInt8
from torch import Tensor

from detinv.detectors.base import AbstractDetector
from detinv.detectors.candidates import read_candidates_batch
from detinv.experiments.common.store import Images
from detinv.layouts.boxes import pairwise_iou
from detinv.layouts.layout import Detections, Layout
from detinv.metrics.coco_ap import average_precision
from detinv.metrics.edges import border_share, box_region, edge_energy
from detinv.metrics.intervals import Interval
from detinv.metrics.jackknife import grouped_mean_interval

SCORES = ("AP", "AP50", "AP75")
MEASURES = {
    "box_iou": "box IoU",
    "found": "found",
    "class_accuracy": "class accuracy",
    "class_probability": "class probability",
    "box_border": "edges at box",
    "mask_border": "edges at mask",
}
"""What is measured of every object, with its name in tables; each in [0, 1].

- box_iou: of the object with the box that overlaps it most, of whatever class; found: whether that is above one half;
- class_accuracy: whether the class that scores highest at the object's own place is the right one;
- class_probability: of the right one there, whatever a quality output (centre-ness) makes of it;
- box_border, mask_border: see `border_share`; of masks where there are any.
"""
_FOUND = 0.5


@dataclass(frozen=True)
class Evaluation:
    """What was measured in the images of some layouts.

    Args:
        scores: COCO's AP, AP50 and AP75 in percent, of boxes and classes together.
        objects: by measure, for each layout one number an object. Objects of one layout share an image, so intervals
            leave out whole layouts.
    """

    scores: dict[str, float]
    objects: dict[str, list[list[float]]]

    def means(self) -> dict[str, Interval]:
        """Compute the mean of every measure over the objects; NaN for one that no object has."""
        return {measure: grouped_mean_interval(values) for measure, values in self.objects.items()}

    def minus(self, other: "Evaluation") -> dict[str, Interval]:
        """Compute means of the paired differences from another evaluation of the same objects."""
        return {
            measure: grouped_mean_interval(
                [
                    [a - b for a, b in zip(*pair, strict=True)]
                    for pair in zip(values, other.objects[measure], strict=True)
                ]
            )
            for measure, values in self.objects.items()
        }


def evaluate(judge: AbstractDetector, images: Images, layouts: Sequence[Layout], score_thresh: float) -> Evaluation:
    """Measure these images with the judge.

    Args:
        layouts: in the pixels of the images, with the judge's labels.
        score_thresh: the judge's boxes count for `box_iou` from a score above this one.
    """
    detections = judge.detect(images)
    scores = average_precision(layouts, detections, judge.class_names)
    candidates = read_candidates_batch(
        judge, images, [layout.boxes for layout in layouts], [layout.labels for layout in layouts]
    )
    objects: dict[str, list[list[float]]] = {measure: [] for measure in MEASURES}
    for image, layout, found, candidate in zip(images, layouts, detections, candidates, strict=True):
        iou = best_iou(layout, found.above(score_thresh))
        objects["box_iou"].append(iou)
        objects["found"].append([float(value > _FOUND) for value in iou])
        preferred = candidate.class_scores.argmax(1)
        objects["class_accuracy"].append((preferred == layout.labels).float().tolist())
        objects["class_probability"].append(candidate.probabilities.tolist())
        at_boxes, at_masks = borders(image, layout)
        objects["box_border"].append(at_boxes)
        objects["mask_border"].append(at_masks)
    return Evaluation({name: scores[name] for name in SCORES}, objects)


def best_iou(layout: Layout, found: Detections) -> list[float]:
    """Compute the IoU of each object with the box that overlaps it most, of whatever class; 0 without a box."""
    if not len(found):
        return [0.0] * len(layout)
    return pairwise_iou(layout.boxes, found.boxes.float()).max(1).values.tolist()


def borders(image: UInt8[Tensor, "3 height width"], layout: Layout) -> tuple[list[float], list[float]]:
    """Compute `border_share` of every object, by its box and by its mask; no numbers of masks where there are none."""
    energy = edge_energy(image)
    masks = () if layout.masks is None else layout.masks
    return (
        [border_share(energy, box_region(box, layout.image_size)) for box in layout.boxes],
        [border_share(energy, mask) for mask in masks],
    )
