"""How well a changed image still shows a detection.

Legend: B changed images, R rows, K classes.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from detinv.attribution.core.raw_outputs import RawOutputs
from detinv.layouts.boxes import clip, pairwise_iou

Likeness = Literal["iou_score", "iou_cosine", "score_above_half"]


@dataclass(frozen=True, eq=False)
class Sought:
    """The detections that are looked for, on the canvas.

    Args:
        boxes: XYXY, inside the image.
        labels: class numbers.
        classes: scores of all classes, then background, at the raw prediction that shows each best.
    """

    boxes: Float[Tensor, "object 4"]
    labels: Int64[Tensor, " object"]
    classes: Float[Tensor, "object column"]

    @classmethod
    def of(
        cls, raw: RawOutputs, boxes: Float[Tensor, "object 4"], labels: Int64[Tensor, " object"], size: tuple[int, int]
    ) -> "Sought":
        """Return what is to be found again, from the raw outputs of the unchanged image.

        Args:
            raw: of one image.
            size: (height, width) of the image on the canvas.
        """
        columns = _columns(raw)[0]
        rows = []
        for box, label in zip(boxes, labels, strict=True):
            overlap = pairwise_iou(box[None], _boxes(raw, label[None], size)[0])[0]
            rows.append(int((overlap * raw.scores[0, :, label]).argmax()))
        return cls(boxes, labels, columns[torch.tensor(rows, device=columns.device)])


def likeness(
    kind: Likeness, raw: RawOutputs, sought: Sought, objects: Int64[Tensor, " image"], size: tuple[int, int]
) -> Float[Tensor, " image"]:
    """Return the best likeness over all raw predictions of each image, in [0, 1].

    Nothing passes through suppression: a detection is found again by its place and its class, whichever row shows it.

    Args:
        kind: "iou_score", IoU times the score of its class; "iou_cosine", IoU times the cosine of all scores with those
            of the detection, background included; "score_above_half", the score of its class among boxes with IoU
            above one half.
        raw: of the changed images.
        objects: number of the detection that each image is about.
        size: (height, width) of the image on the canvas.
    """
    labels = sought.labels[objects]
    overlap = pairwise_iou(sought.boxes[objects][:, None], _boxes(raw, labels, size))[:, 0]
    if kind == "iou_cosine":
        wanted = F.normalize(sought.classes[objects], dim=-1)[:, None]
        return (overlap * (F.normalize(_columns(raw), dim=-1) * wanted).sum(2)).amax(1)
    scores = raw.scores.gather(2, labels[:, None, None].expand(-1, raw.scores.shape[1], 1))[..., 0]
    return (scores * (overlap > 0.5 if kind == "score_above_half" else overlap)).amax(1)


def _columns(raw: RawOutputs) -> Float[Tensor, "image row column"]:
    return torch.cat([raw.scores, raw.background[..., None]], -1)


def _boxes(raw: RawOutputs, labels: Tensor, size: tuple[int, int]) -> Float[Tensor, "image row 4"]:
    boxes = raw.boxes_of(labels)
    return clip(boxes, boxes.new_tensor([size[1], size[0]]).expand_as(boxes[..., :2]))
