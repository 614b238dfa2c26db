"""Scores and boxes of single, fixed candidates, without threshold, ranking or suppression.

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
from detinv.detectors.heads.assigning import assign_rows
from detinv.detectors.heads.predictions import DensePredictions
from detinv.detectors.regions import Regions
from detinv.detectors.rows import TargetRows, row_outputs
from detinv.layouts.batch import LayoutBatch
from detinv.layouts.boxes import clip, pairwise_iou
from detinv.layouts.layout import Layout

# IoU from which a candidate's box counts as predicting an object.
_PREDICTS = 0.5


@dataclass(frozen=True)
class Candidates:
    """One candidate for each object of one image, on the CPU, in pixels of the image.

    Args:
        scores: score of each object's class at its candidate, in [0, 1], as the head's own inference ranks it.
        boxes: XYXY that the candidate predicts for that class; clipped to the image where the detector clips.
        anchors: anchor of the dense head's row, or region at which the second stage was evaluated.
        rows: row of the dense head, or number among the regions given to a second stage. For queries that are chosen
            again in every pass, the token that the query was made from.
        class_scores: scores of all classes at the candidate.
        probabilities: class probability of each object's class at its candidate, without the quality output
            (centre-ness, objectness) that the score may include.
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
    """Return the candidates of one image's objects; see `read_candidates_batch`."""
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
    """Return one candidate for each object, from the raw outputs: no gradient, fp32.

    A second stage is evaluated at the objects' boxes themselves. Of a dense head, each object takes the row with the
    highest score of its class among those whose box overlaps the object with IoU >= 0.5. If there is none, it takes
    the row to which training would assign it first, or the row of highest IoU in heads whose training assigns nothing
    in advance (set prediction). Two objects may take the same row.

    Args:
        images: 8-bit RGB. Images that do not have the size of the network's input are resized to it, bilinearly.
        boxes: XYXY in pixels of each image.
        labels: class of each object.
        rows: rows to take instead, such as `Candidates.rows` of another image; ignored by a second stage. A token that
            did not become a query in this image gets a score of 0 and a box of NaN.
        batch_size: number of images, all of one size, that pass through the network together.

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
                chosen,
                torch.stack([images[number] for number in chosen]),
                [boxes[number] for number in chosen],
                [labels[number] for number in chosen],
                None if rows is None else [rows[number] for number in chosen],
            )
            found |= dict(zip(chosen, read, strict=True))
    return [found[number] for number in range(len(images))]


def _read(
    detector: AbstractDetector,
    numbers: Sequence[int],
    images: UInt8[Tensor, "batch 3 height width"],
    boxes: Sequence[Tensor],
    labels: Sequence[Tensor],
    rows: Sequence[Tensor] | None,
) -> list[Candidates]:
    """Return the candidates of images of one size, which messages call by their numbers."""
    height, width = images.shape[2:]
    size = detector.network_size((height, width))
    layouts = LayoutBatch.collate(
        [
            Layout(box, label, (height, width), str(number)).resized(size)
            for number, box, label in zip(numbers, boxes, labels, strict=True)
        ],
        detector.size_divisor,
    ).to(detector.device)
    pixels = images.to(detector.device).float() / 255
    if (height, width) != size:
        pixels = F.interpolate(pixels, size, mode="bilinear", align_corners=False, antialias=True)
    with torch.autocast(detector.device.type, enabled=False):
        predictions = detector(
            on_canvas(detector, pixels, layouts.canvas_size),
            layouts.image_sizes,
            Regions(layouts.boxes, layouts.valid),
        )
        stage = predictions.roi or predictions.dense
        names, targets, there = (
            _regions(layouts) if predictions.roi is not None else _rows(predictions.dense, layouts, rows)
        )
        outputs = row_outputs(stage, targets)
        post = predictions.dense.head.post if predictions.roi is None else predictions.roi.post
        found = _clipped(outputs.boxes(), layouts, post.clip).masked_fill(~there[..., None], torch.nan)
        class_scores = outputs.scores() * there[..., None]
        probabilities = outputs.probabilities() * there[..., None]
    scores, chances = (value.gather(2, layouts.labels[..., None])[..., 0] for value in (class_scores, probabilities))
    back = torch.tensor([width / size[1], height / size[0]] * 2)
    return [
        Candidates(
            scores[number, : len(label)].cpu(),
            found[number, : len(label)].cpu() * back,
            outputs.anchors[number, : len(label)].cpu() * back,
            names[number, : len(label)].cpu(),
            class_scores[number, : len(label)].cpu(),
            chances[number, : len(label)].cpu(),
        )
        for number, label in enumerate(labels)
    ]


_Chosen = tuple[Int64[Tensor, "batch object"], TargetRows, Bool[Tensor, "batch object"]]
"""What identifies the candidates in every pass, their rows in this one, and which exist in it."""


def _regions(layouts: LayoutBatch) -> _Chosen:
    """Return the given regions, which are the objects' boxes."""
    slots = torch.arange(layouts.boxes.shape[1], device=layouts.boxes.device).expand_as(layouts.labels)
    return slots, TargetRows.of_batch(slots, layouts.labels, given=True), layouts.valid


def _rows(predictions: DensePredictions, layouts: LayoutBatch, rows: Sequence[Tensor] | None) -> _Chosen:
    """Return the given rows of a dense head, or the best."""
    if rows is None:
        places = _best_rows(predictions, layouts)
        names = places if predictions.identities is None else predictions.identities.gather(1, places)
        return names, TargetRows.of_batch(places, layouts.labels), layouts.valid
    names = _padded(rows, layouts)
    images = torch.arange(len(names), device=names.device)[:, None].expand_as(names)
    places, there = predictions.places(images, names)
    return names, TargetRows(images, places, layouts.labels), there & layouts.valid


def _best_rows(predictions: DensePredictions, layouts: LayoutBatch) -> Int64[Tensor, "batch object"]:
    """Return the row that predicts each object; see `read_candidates_batch`."""
    scores, boxes = predictions.scores(), _clipped(predictions.boxes(), layouts, predictions.head.post.clip)
    iou = pairwise_iou(layouts.boxes, boxes)
    wanted = layouts.labels[:, None].expand(-1, scores.shape[1], -1)
    ranked = scores.gather(2, wanted).transpose(1, 2).masked_fill(iou < _PREDICTS, -1.0)
    best, rows = ranked.max(-1)
    if predictions.head.assigner is None:
        otherwise = iou.argmax(-1)
    else:
        otherwise = assign_rows(predictions, layouts, boxes).candidates[..., 0]
    return torch.where(best >= 0, rows, otherwise)


def _padded(rows: Sequence[Tensor], layouts: LayoutBatch) -> Int64[Tensor, "batch object"]:
    padded = torch.zeros_like(layouts.labels)
    for number, mine in enumerate(rows):
        padded[number, : len(mine)] = mine.to(padded)
    return padded


def _clipped(boxes: Float[Tensor, "batch row 4"], layouts: LayoutBatch, when: str) -> Float[Tensor, "batch row 4"]:
    return boxes if when == "never" else clip(boxes, layouts.limits[:, None].expand_as(boxes[..., :2]))
