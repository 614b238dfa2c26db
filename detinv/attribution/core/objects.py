"""The objects of one image that are to be explained, and the raw predictions that they come from."""

from dataclasses import dataclass, fields, replace
from typing import Any

from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from detinv.detectors.base import AbstractDetector
from detinv.detectors.candidates import read_candidates
from detinv.detectors.locate import locate_rows
from detinv.layouts.layout import EXACT, Detections, Rounding


@dataclass(frozen=True)
class ExplainedObjects:
    """N objects of one image, on the CPU, in pixels of the image.

    Args:
        boxes: XYXY, as reported or as given.
        labels: class numbers.
        scores: of that class at the raw prediction, in [0, 1].
        rows: raw prediction of each, named as in `Detections.rows`; not used where there is a second stage.
        regions: XYXY of the region that a second stage, where there is one, is asked about.
        proposals: number of each region among the detector's own proposals, by which its anchor is found; -1 where
            the region is not one of them.
        masks: of the objects in the image, where they are known.
        anchors: row of the proposal head that each region came from in the image as it is, held when it is changed.
    """

    boxes: Float[Tensor, "object 4"]
    labels: Int64[Tensor, " object"]
    scores: Float[Tensor, " object"]
    rows: Int64[Tensor, " object"]
    regions: Float[Tensor, "object 4"] | None = None
    proposals: Int64[Tensor, " object"] | None = None
    masks: Bool[Tensor, "object height width"] | None = None
    anchors: Int64[Tensor, " object"] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, keep: Bool[Tensor, " object"] | Int64[Tensor, " kept"]) -> "ExplainedObjects":
        """Return only the objects where `keep` is true, or those with these numbers, in that order."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        chosen: dict[str, Any] = {name: value[keep] for name, value in values.items() if value is not None}
        return replace(self, **chosen)


def detected_objects(
    detector: AbstractDetector,
    image: UInt8[Tensor, "3 height width"],
    found: Detections,
    rounding: Rounding = EXACT,
) -> tuple[ExplainedObjects, list[int]]:
    """Return those of an image's detections whose raw prediction is known, and the numbers of the others.

    Args:
        found: in the frame of the image, with the detector's own labels; made by `detect`, or read from a file.
        rounding: of the numbers in that file.
    """
    located = locate_rows(detector, [image], [found], rounding)[0]
    assert located.rows is not None
    known = located.rows >= 0
    proposals = None if located.regions is None else located.rows
    objects = ExplainedObjects(located.boxes, located.labels, located.scores, located.rows, located.regions, proposals)
    return objects.select(known), (~known).nonzero()[:, 0].tolist()


def annotated_objects(
    detector: AbstractDetector,
    image: UInt8[Tensor, "3 height width"],
    boxes: Float[Tensor, "object 4"],
    labels: Int64[Tensor, " object"],
) -> ExplainedObjects:
    """Return objects given by boxes: each is explained by the raw prediction nearest to it.

    A second stage is asked about the boxes themselves. Of a dense head, an object takes the row with the highest score
    of its class among those whose box overlaps it with IoU >= 0.5; see `read_candidates_batch`.

    Args:
        boxes: XYXY inside the image.
        labels: class of each.

    Raises:
        LayoutError: for a box outside the image.
        ValueError: when a label is not one of the detector's classes.
    """
    found = read_candidates(detector, image, boxes, labels)
    return ExplainedObjects(boxes, labels, found.scores, found.rows, boxes)
