"""One image's way through the detector's declared post-processing, in the frame of the image."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from detinv.attribution.core.forward import canvas_of
from detinv.detectors.base import AbstractDetector
from detinv.detectors.heads.trace import Trace, trace_dense, trace_proposals, trace_second_stage
from detinv.detectors.locate import match_detections
from detinv.layouts.layout import Detections


@dataclass(frozen=True)
class Replay:
    """Every candidate of the last stage of an image, and where it ended, on the CPU.

    Args:
        trace: of the last stage, in the frame of the network's input.
        boxes: XYXY of each row, for each class where these differ, in pixels of the image.
        names: of the rows, as in `Detections.rows`.
        regions: the proposals that a second stage received, one for each row, in pixels of the image.
        valid: which of them are no padding.
        proposals: trace of the proposal head.
        proposed: XYXY of its rows in pixels of the image.
        detections: numbers of the candidates that are reported, one for each detection; -1 where it is not known.
    """

    trace: Trace
    boxes: Float[Tensor, "row box_class 4"]
    names: Int64[Tensor, " row"]
    detections: list[int]
    regions: Float[Tensor, "row 4"] | None = None
    valid: Bool[Tensor, " row"] | None = None
    proposals: Trace | None = None
    proposed: Float[Tensor, "anchor 4"] | None = None

    def box(self, row: int, label: int) -> Float[Tensor, " 4"]:
        """Return the box of one candidate, in pixels of the image."""
        return self.boxes[row, label if self.boxes.shape[1] > 1 else 0]

    def boxes_of(self, label: int) -> Float[Tensor, "row 4"]:
        """Return the boxes of all rows for one class, in pixels of the image."""
        return self.boxes[:, label if self.boxes.shape[1] > 1 else 0]

    def detection_of(self, candidate: int) -> int:
        """Return the number of the detection that a candidate became, or -1."""
        return self.detections.index(candidate) if candidate in self.detections else -1


@torch.no_grad()
def replay_image(
    detector: AbstractDetector, image: UInt8[Tensor, "3 height width"], found: Detections, score_thresh: float
) -> Replay:
    """Run an image through the detector once, in fp32, and replay its declared post-processing.

    Args:
        found: detections above `score_thresh` that the detector's own inference reports for the image.
        score_thresh: raises the detector's own threshold; has no effect where that is higher.
    """
    image_size = (image.shape[1], image.shape[2])
    pixels, _, size = canvas_of(detector, image)
    with torch.autocast(detector.device.type, enabled=False):
        predictions = detector(pixels, [size])
    dense, roi = predictions.dense, predictions.roi
    threshold = max(score_thresh, (roi.post if roi is not None else dense.head.post).score_thresh)

    def placed(boxes: Tensor) -> Tensor:
        flat = detector.boxes_in_image(boxes.flatten(0, -2), size, image_size)
        return flat.reshape(boxes.shape).cpu()

    if roi is None:
        trace = trace_dense(dense, 0, size, threshold).cpu()
        rows = torch.arange(len(trace.scores))
        names = rows if dense.identities is None else dense.identities[0].cpu()
        return Replay(trace, placed(trace.boxes), names, _became(trace, placed(trace.boxes), found, image_size))
    trace = trace_second_stage(roi, 0, size, threshold).cpu()
    boxes = placed(trace.boxes)
    own = slice(0, len(trace.scores))
    proposals = None if roi.sources is None else trace_proposals(dense, roi, 0, size).cpu()
    return Replay(
        trace,
        boxes,
        torch.arange(len(trace.scores)),
        _became(trace, boxes, found, image_size),
        placed(roi.rois[0, own]),
        roi.valid[0, own].cpu(),
        proposals,
        None if proposals is None else placed(proposals.boxes[:, 0]),
    )


def _became(
    trace: Trace, boxes: Float[Tensor, "row box_class 4"], found: Detections, image_size: tuple[int, int]
) -> list[int]:
    """Return the number of the candidate that each detection came from, or -1."""
    reported = trace.reported()
    rows, labels = reported // trace.scores.shape[1], reported % trace.scores.shape[1]
    own = boxes[rows, labels if boxes.shape[1] > 1 else torch.zeros_like(labels)]
    replayed = Detections(own, trace.scores[rows, labels], labels, image_size)
    place = match_detections(found.cpu(), replayed)
    return [int(reported[one]) if one >= 0 else -1 for one in place.tolist()]
