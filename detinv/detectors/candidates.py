"""What single, fixed candidates say: scores and boxes without threshold, ranking or suppression.

Legend: B images, A rows of a dense head, M object slots, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from detinv.detectors.base import AbstractDetector
from detinv.detectors.canvas import on_canvas
from detinv.detectors.heads.assigners import Assignment, DynamicAssigner
from detinv.detectors.heads.predictions import DensePredictions, RoIPredictions
from detinv.detectors.regions import Regions
from detinv.layouts.batch import LayoutBatch
from detinv.layouts.boxes import clip, pairwise_iou
from detinv.layouts.layout import Layout

# Overlap from which a candidate counts as reporting an object.
_REPORTS = 0.5


@dataclass(frozen=True)
class Candidates:
    """One candidate for each object of one image, on the CPU, in the pixels of the image.

    Args:
        scores: of each object's class at its candidate, in [0, 1], as the head's own inference ranks it.
        boxes: XYXY that the candidate reports, for that class; clipped to the image where the detector clips.
        anchors: the anchor of a dense head's row, or the region that a second stage looked at.
        rows: of the dense head, or number among the regions given to a second stage. Where the queries of a
            transformer are chosen anew in every pass, the token that the query was made of.
        class_scores: of all classes at the candidate.
        probabilities: of each object's class at its candidate, whatever a quality output (centre-ness, objectness)
            makes of it in the score.
    """

    scores: Float[Tensor, " object"]
    boxes: Float[Tensor, "object 4"]
    anchors: Float[Tensor, "object 4"]
    rows: Int64[Tensor, " object"]
    class_scores: Float[Tensor, "object class"]
    probabilities: Float[Tensor, " object"]


def read_candidates(
    detector: AbstractDetector,
    image: UInt8[Tensor, "3 height width"],
    boxes: Float[Tensor, "object 4"],
    labels: Int64[Tensor, " object"],
    rows: Int64[Tensor, " object"] | None = None,
) -> Candidates:
    """The candidates of one image's objects; see `read_candidates_batch`."""
    return read_candidates_batch(detector, [image], [boxes], [labels], None if rows is None else [rows])[0]


@torch.no_grad()
def read_candidates_batch(
    detector: AbstractDetector,
    images: Sequence[UInt8[Tensor, "3 _height _width"]],
    boxes: Sequence[Float[Tensor, "_object 4"]],
    labels: Sequence[Int64[Tensor, " _object"]],
    rows: Sequence[Int64[Tensor, " _object"]] | None = None,
    batch_size: int = 16,
) -> list[Candidates]:
    """What one candidate says of each object, by the raw outputs: no gradient, fp32.

    A second stage looks at the objects' boxes themselves. Of a dense head, each object takes the row that scores its
    class highest among those whose box overlaps the object with IoU >= 0.5; without any, the row that training would
    give it first; and for heads that training does not assign by overlap (set prediction), the row of highest IoU.
    Two objects may take one row.

    Args:
        images: 8-bit RGB. One that does not have the size of the network's input is resized to it, bilinearly.
        boxes: XYXY in the pixels of each image.
        labels: the classes asked for.
        rows: those to read instead, such as `Candidates.rows` of another image. A second stage takes no notice. A
            token that became no query in this image scores 0 and reports a box of NaN.
        batch_size: images that pass the network together; only images of one size do.

    Raises:
        LayoutError: for boxes outside their image, naming the image's number.
        ValueError: when the lengths differ, or a label is not one of the detector's classes.
    """
    for number, (mine, theirs) in enumerate(zip(boxes, labels, strict=True)):
        if len(mine) != len(theirs) or (rows is not None and len(rows[number]) != len(mine)):
            raise ValueError(f"image {number}: {len(mine)} boxes need one label each, and one row if rows are given")
        if len(theirs) and not 0 <= int(theirs.min()) <= int(theirs.max()) < len(detector.class_names):
            raise ValueError(f"image {number}: labels must lie in 0 ... {len(detector.class_names) - 1}")
    by_size: dict[tuple[int, int], list[int]] = {}
    for number, image in enumerate(images):
        by_size.setdefault((image.shape[1], image.shape[2]), []).append(number)
    found: dict[int, Candidates] = {}
    for members in by_size.values():
        for start in range(0, len(members), batch_size):
            chosen = members[start : start + batch_size]
            read = _read(
                detector,
                torch.stack([images[number] for number in chosen]),
                [boxes[number] for number in chosen],
                [labels[number] for number in chosen],
                None if rows is None else [rows[number] for number in chosen],
            )
            found |= dict(zip(chosen, read, strict=True))
    return [found[number] for number in range(len(images))]


def _read(
    detector: AbstractDetector,
    images: UInt8[Tensor, "batch 3 height width"],
    boxes: Sequence[Tensor],
    labels: Sequence[Tensor],
    rows: Sequence[Tensor] | None,
) -> list[Candidates]:
    """Candidates of images of one size."""
    device = detector.device
    height, width = images.shape[2:]
    size = detector.network_size((height, width))
    layouts = LayoutBatch.collate(
        [
            Layout(box, label, (height, width), str(number)).resized(size)
            for number, (box, label) in enumerate(zip(boxes, labels, strict=True))
        ],
        detector.size_divisor,
    ).to(device)
    with torch.autocast(device.type, enabled=False):
        predictions = detector(
            _canvas(detector, images.to(device), size, layouts.canvas_size),
            layouts.image_sizes,
            Regions(layouts.boxes, layouts.valid),
        )
        if predictions.roi is not None:
            found = _at_regions(predictions.roi, layouts)
        else:
            found = _at_rows(predictions.dense, layouts, rows)
    back = torch.tensor([width / size[1], height / size[0]] * 2)
    return [
        Candidates(
            found.scores[number, : len(label)].cpu(),
            found.boxes[number, : len(label)].cpu() * back,
            found.anchors[number, : len(label)].cpu() * back,
            found.rows[number, : len(label)].cpu(),
            found.class_scores[number, : len(label)].cpu(),
            found.probabilities[number, : len(label)].cpu(),
        )
        for number, label in enumerate(labels)
    ]


@dataclass(frozen=True)
class _Found:
    """`Candidates` of a batch, in the frame of the network."""

    scores: Float[Tensor, "batch object"]
    boxes: Float[Tensor, "batch object 4"]
    anchors: Float[Tensor, "batch object 4"]
    rows: Int64[Tensor, "batch object"]
    class_scores: Float[Tensor, "batch object class"]
    probabilities: Float[Tensor, "batch object"]


def _canvas(
    detector: AbstractDetector,
    images: UInt8[Tensor, "batch 3 height width"],
    size: tuple[int, int],
    canvas_size: tuple[int, int],
) -> Float[Tensor, "batch 3 _ _"]:
    """Pixels in [0, 1] at the network's size, in the mean colour up to the canvas."""
    pixels = images.float() / 255
    if tuple(pixels.shape[2:]) != size:
        pixels = F.interpolate(pixels, size, mode="bilinear", align_corners=False, antialias=True)
    return on_canvas(detector, pixels, canvas_size)


def _at_regions(predictions: RoIPredictions, layouts: LayoutBatch) -> _Found:
    given = layouts.boxes.shape[1]
    deltas = predictions.deltas[:, -given:]
    deltas = deltas.gather(2, layouts.labels[..., None, None].expand(-1, -1, 1, 4))[:, :, 0]
    regions = predictions.rois[:, -given:]
    boxes = predictions.codec.decode(deltas.float(), regions)
    class_scores = predictions.logits[:, -given:].softmax(-1)[..., :-1]
    scores = class_scores.gather(2, layouts.labels[..., None])[..., 0]
    return _Found(
        scores,
        _clipped(boxes, layouts, predictions.post.clip),
        regions,
        torch.arange(given, device=regions.device).expand(len(regions), -1),
        class_scores,
        scores,
    )


def _at_rows(predictions: DensePredictions, layouts: LayoutBatch, rows: Sequence[Tensor] | None) -> _Found:
    head, scores = predictions.head, predictions.scores()
    boxes = _clipped(predictions.boxes(), layouts, head.post.clip)
    if rows is None:
        places, there = _best_rows(predictions, scores, boxes, layouts), layouts.valid
    else:
        places, there = _given_rows(predictions, layouts, rows)
    names = places if predictions.identities is None else predictions.identities.gather(1, places)
    class_scores = _take(scores, places) * there[..., None]
    probabilities = head.scoring.scores(_take(predictions.logits, places), None)
    probabilities = probabilities * there[..., None]
    return _Found(
        class_scores.gather(2, layouts.labels[..., None])[..., 0],
        _take(boxes, places).masked_fill(~there[..., None], torch.nan),
        head.anchors[places],
        names if rows is None else _padded(rows, layouts),
        class_scores,
        probabilities.gather(2, layouts.labels[..., None])[..., 0],
    )


def _best_rows(
    predictions: DensePredictions,
    scores: Float[Tensor, "batch anchor class"],
    boxes: Float[Tensor, "batch anchor 4"],
    layouts: LayoutBatch,
) -> Int64[Tensor, "batch object"]:
    """The row that reports each object; see `read_candidates_batch`."""
    iou = pairwise_iou(layouts.boxes, boxes)
    wanted = layouts.labels[:, None].expand(-1, scores.shape[1], -1)
    ranked = scores.gather(2, wanted).transpose(1, 2).masked_fill(iou < _REPORTS, -1.0)
    best, rows = ranked.max(-1)
    if predictions.head.assigner is None:
        otherwise = iou.argmax(-1)
    else:
        otherwise = _assigned(predictions, boxes, layouts).candidates[..., 0]
    return torch.where(best >= 0, rows, otherwise)


def _assigned(
    predictions: DensePredictions, boxes: Float[Tensor, "batch anchor 4"], layouts: LayoutBatch
) -> Assignment:
    head, assigner = predictions.head, predictions.head.assigner
    assert assigner is not None
    if isinstance(assigner, DynamicAssigner):
        return assigner.assign_predicted(
            head.anchors,
            head.level_sizes,
            layouts.boxes,
            layouts.labels,
            layouts.valid,
            predictions.log_scores(),
            boxes,
        )
    return assigner.assign(head.anchors, head.level_sizes, layouts.boxes, layouts.valid)


def _given_rows(
    predictions: DensePredictions, layouts: LayoutBatch, rows: Sequence[Tensor]
) -> tuple[Int64[Tensor, "batch object"], Bool[Tensor, "batch object"]]:
    """Places of the given rows, and which of them are there in this pass."""
    wanted = _padded(rows, layouts)
    if predictions.identities is None:
        return wanted, layouts.valid
    there, places = (wanted[..., None] == predictions.identities[:, None]).max(-1)
    return places, there & layouts.valid


def _padded(rows: Sequence[Tensor], layouts: LayoutBatch) -> Int64[Tensor, "batch object"]:
    padded = torch.zeros_like(layouts.labels)
    for number, mine in enumerate(rows):
        padded[number, : len(mine)] = mine.to(padded)
    return padded


def _clipped(boxes: Float[Tensor, "batch row 4"], layouts: LayoutBatch, when: str) -> Float[Tensor, "batch row 4"]:
    return boxes if when == "never" else clip(boxes, layouts.limits[:, None].expand_as(boxes[..., :2]))


def _take(values: Float[Tensor, "batch row column"], rows: Int64[Tensor, "batch object"]) -> Tensor:
    return values.gather(1, rows[..., None].expand(-1, -1, values.shape[-1]))
