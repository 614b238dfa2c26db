"""What becomes of every candidate in the post-processing that a detector declares.

`postprocess` reports what is left at the end of a trace; an explanation of errors asks where the others ended.

Legend: R rows of a dense head or regions of a second stage, K classes. A candidate is a pair of row and class, and its
number is row * K + class.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torchvision.ops import batched_nms, nms

from detinv.detectors.heads.peaks import highest_around
from detinv.detectors.heads.predictions import DenseHead, DensePredictions, PostProcessing, RoIPredictions
from detinv.layouts.boxes import clip, pairwise_iou


class Fate(IntEnum):
    """Where a candidate ended, in the order of the steps: it passed all steps before that one."""

    LOW_SCORE = 0
    """Its score was not above the threshold."""
    OTHER_CLASS = 1
    """Its row counts for its best class only, and that is another one."""
    NO_MAXIMUM = 2
    """A cell around it had a higher score of its class."""
    BEYOND_CANDIDATES = 3
    """It was not among the candidates of highest score that suppression considers."""
    TOO_SMALL = 4
    """A side of its box was too short."""
    SUPPRESSED = 5
    """A candidate of higher score overlapped it too much."""
    BEYOND_DETECTIONS = 6
    """It was not among the best that are reported for an image."""
    EMPTY = 7
    """Its box had no area inside the image."""
    REPORTED = 8


@dataclass(frozen=True)
class Trace:
    """The fate of every candidate of one image, in the frame of the network's input.

    Args:
        boxes: XYXY of each row, for each class where these differ, as the detector would report them.
        scores: that inference ranks, in [0, 1].
        fates: a `Fate` for each candidate.
        considered: numbers of the candidates that suppression considered.
        kept: places in `considered` of those that it kept, best first.
        placed: boxes that it compared, of each considered candidate.
        groups: only candidates of one group suppress each other.
        post: the constants.
        highest: for each candidate, the row of the highest score of its class among the cells around it, where only
            local maxima are kept.
    """

    boxes: Float[Tensor, "row box_class 4"]
    scores: Float[Tensor, "row class"]
    fates: Int64[Tensor, "row class"]
    considered: Int64[Tensor, " candidate"]
    kept: Int64[Tensor, " survivor"]
    placed: Float[Tensor, "candidate 4"]
    groups: Int64[Tensor, " candidate"]
    post: PostProcessing
    highest: Int64[Tensor, "row class"] | None = None

    def cpu(self) -> "Trace":
        """Return the trace on the CPU."""
        moved: dict[str, Any] = {name: value.cpu() for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **moved)

    def reported(self) -> Int64[Tensor, " detection"]:
        """Return the numbers of the candidates that are reported, best first."""
        survivors = self.considered[self.kept]
        return survivors[self.fates.flatten()[survivors] == Fate.REPORTED]

    def box_of(self, candidates: Int64[Tensor, " candidate"]) -> Float[Tensor, "candidate 4"]:
        """Return the boxes of candidates."""
        return _boxes_of(self.boxes, candidates, self.scores.shape[1])

    def suppressor(self, candidate: int) -> int:
        """Return the candidate that suppressed a suppressed one: the best of those kept that overlap it too much.

        Of one that is no local maximum, it is the best of the cells around it, which need not have been kept.

        Raises:
            ValueError: when the candidate was not suppressed.
        """
        fate, classes = int(self.fates.flatten()[candidate]), self.scores.shape[1]
        if fate == Fate.NO_MAXIMUM:
            assert self.highest is not None
            return int(self.highest.flatten()[candidate]) * classes + candidate % classes
        if fate != Fate.SUPPRESSED:
            raise ValueError(f"candidate {candidate} was not suppressed")
        place = int((self.considered == candidate).nonzero()[0])
        rivals = self.kept[self.groups[self.kept] == self.groups[place]]
        iou = pairwise_iou(self.placed[place][None], self.placed[rivals])[0]
        over = (iou > self.post.suppression).nonzero()[:, 0]
        # At the threshold itself, the last digit of an overlap may differ from the library's.
        first = int(over[0]) if len(over) else int(iou.argmax())
        return int(self.considered[rivals[first]])


@torch.no_grad()
def trace_dense(
    predictions: DensePredictions, image: int, size: tuple[int, int], score_thresh: float | None = None
) -> Trace:
    """Trace the rows of a one-stage detector, or the queries of a set prediction.

    Args:
        image: its number in the batch.
        size: its (height, width) on the canvas.
        score_thresh: to take instead of the detector's own.
    """
    post = _at(predictions.head.post, score_thresh)
    boxes, scores = predictions.boxes()[image], predictions.scores()[image]
    return _trace(boxes[:, None], scores, scores, size, post, predictions.head)


@torch.no_grad()
def trace_second_stage(
    predictions: RoIPredictions, image: int, size: tuple[int, int], score_thresh: float | None = None
) -> Trace:
    """Trace a second stage at the detector's own proposals; see `trace_dense`.

    Rows are the proposals in their order, padding included, whose scores are 0.
    """
    own = slice(0, predictions.rois.shape[1] - predictions.given)
    rois, deltas = predictions.rois[image, own], predictions.deltas[image, own]
    boxes = predictions.codec.decode(deltas, rois[:, None].expand_as(deltas))
    scores = predictions.logits[image, own].softmax(-1)[:, : deltas.shape[1]]
    scores = torch.where(predictions.valid[image, own, None], scores, 0.0)
    # All classes of all proposals take part, in their order, which settles ties.
    return _trace(boxes, scores, None, size, _at(predictions.post, score_thresh), None)


@torch.no_grad()
def trace_proposals(predictions: DensePredictions, roi: RoIPredictions, image: int, size: tuple[int, int]) -> Trace:
    """Trace the rows of a proposal head: reported are those that the second stage received.

    Raises:
        ValueError: when the adapter does not say from which rows its proposals came.
    """
    if roi.sources is None:
        raise ValueError("the adapter does not say from which rows its proposals came")
    boxes, scores = predictions.boxes()[image], predictions.scores()[image]
    found = _trace(boxes[:, None], scores, predictions.logits[image], size, predictions.head.post, predictions.head)
    # Scores that round to one number tie, and libraries settle ties in different ways; the proposals are known.
    fates = found.fates.clone().flatten()
    chosen = roi.sources[image][roi.valid[image, : roi.sources.shape[1]]]
    fates[found.considered[found.kept]] = Fate.BEYOND_DETECTIONS
    fates[chosen] = Fate.REPORTED
    return replace(found, fates=fates.view_as(found.fates))


def _at(post: PostProcessing, score_thresh: float | None) -> PostProcessing:
    return post if score_thresh is None else replace(post, score_thresh=score_thresh)


def _trace(
    boxes: Float[Tensor, "row box_class 4"],
    scores: Float[Tensor, "row class"],
    ranks: Float[Tensor, "row class"] | None,
    size: tuple[int, int],
    post: PostProcessing,
    head: DenseHead | None,
) -> Trace:
    """Run the declared steps, one after the other, and note for each candidate the last that it reached.

    Args:
        ranks: by which the best candidates are chosen; None where all take part, in the order of their numbers.
        head: to which the rows belong; None for regions.
    """
    classes = scores.shape[1]
    levels = None if head is None else head.levels
    allowed = scores > post.score_thresh
    fates = torch.where(allowed, Fate.OTHER_CLASS, Fate.LOW_SCORE)
    if post.best_class_only:
        allowed = allowed & torch.zeros_like(allowed).scatter(1, scores.argmax(1, keepdim=True), True)
    flat = fates.flatten()
    highest = None
    if head is not None and post.peak_kernel is not None:
        flat[allowed.flatten()] = Fate.NO_MAXIMUM
        pooled, rows = (found[0] for found in highest_around(scores[None], head.grids, post.peak_kernel))
        allowed, highest = allowed & (scores == pooled), rows
    flat[allowed.flatten()] = Fate.BEYOND_CANDIDATES
    pairs = allowed.flatten().nonzero()[:, 0] if ranks is None else _best(ranks, allowed, levels, post)
    flat[pairs] = Fate.TOO_SMALL
    own = _boxes_of(boxes, pairs, classes)
    limits = own.new_tensor((size[1], size[0]))
    clipped = clip(own, limits.expand(len(own), 2))
    fit = ((clipped[:, 2:] - clipped[:, :2]) >= post.min_size).all(1)
    pairs, own, clipped = pairs[fit], own[fit], clipped[fit]
    flat[pairs] = Fate.SUPPRESSED
    placed = clipped if post.clip == "before" else own
    labels = pairs % classes
    groups = labels if post.suppress_per == "class" or levels is None else levels[pairs // classes]
    kept = _suppressed(placed, scores.flatten()[pairs], groups, post)
    flat[pairs[kept]] = Fate.BEYOND_DETECTIONS
    best = kept[: post.detections_per_image]
    flat[pairs[best]] = Fate.EMPTY
    if post.drop_empty:
        best = best[((clipped[best, 2:] - clipped[best, :2]) > 0).all(1)]
    flat[pairs[best]] = Fate.REPORTED
    reported = boxes if post.clip == "never" else clip(boxes, limits.expand(*boxes.shape[:2], 2))
    return Trace(reported, scores, flat.view_as(fates), pairs, kept, placed, groups, post, highest)


def _best(
    ranks: Float[Tensor, "row class"], allowed: Tensor, levels: Int64[Tensor, " row"] | None, post: PostProcessing
) -> Int64[Tensor, " candidate"]:
    """Return the candidates that suppression considers: the best of each group, best first in each."""
    every = torch.arange(ranks.numel(), device=ranks.device).view_as(ranks)
    groups: Sequence[Tensor] = [every.flatten()]
    if post.topk_per == "level" and levels is not None:
        groups = [block.flatten() for block in every.split(levels.bincount().tolist())]
    elif post.topk_per == "class":
        groups = every.unbind(1)
    found = []
    for group in groups:
        group = group[allowed.flatten()[group]]
        values = ranks.flatten()[group]
        found.append(group[values.topk(min(post.topk_candidates, len(group))).indices])
    return torch.cat(found)


def _suppressed(
    boxes: Float[Tensor, "candidate 4"],
    scores: Float[Tensor, " candidate"],
    groups: Int64[Tensor, " candidate"],
    post: PostProcessing,
) -> Int64[Tensor, " survivor"]:
    """Return the places of the candidates that suppression keeps, best first."""
    if post.nms_thresh is None:
        return scores.argsort(descending=True, stable=True)
    if post.class_offset is None:
        return batched_nms(boxes, scores, groups, post.nms_thresh)
    return nms(boxes + post.class_offset * groups[:, None], scores, post.nms_thresh)


def _boxes_of(
    boxes: Float[Tensor, "row box_class 4"], candidates: Int64[Tensor, " candidate"], classes: int
) -> Float[Tensor, "candidate 4"]:
    rows, labels = candidates // classes, candidates % classes
    return boxes[rows, labels if boxes.shape[1] > 1 else torch.zeros_like(labels)]
