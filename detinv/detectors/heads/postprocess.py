"""What a detector reports, from its raw predictions and the post-processing it declares.

The inversion never runs this: it is how an adapter proves that its raw predictions are the detector's, and how a test
sees what pseudo-targets would make of them.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torchvision.ops import batched_nms, nms

from detinv.detectors.heads.predictions import DensePredictions, PostProcessing, Predictions, RoIPredictions
from detinv.layouts.boxes import clip
from detinv.layouts.layout import Detections


@torch.no_grad()
def postprocess(predictions: Predictions, image_sizes: Sequence[tuple[int, int]]) -> list[Detections]:
    """Detections of each image in the frame of the network's input, without masks; best first, on the CPU.

    Args:
        predictions: regions that the caller gave to a second stage take no part.
        image_sizes: (height, width) of each image on its canvas.
    """
    return [
        _dense(predictions.dense, number, size)
        if predictions.roi is None
        else _second_stage(predictions.roi, number, size)
        for number, size in enumerate(image_sizes)
    ]


def _dense(predictions: DensePredictions, image: int, size: tuple[int, int]) -> Detections:
    boxes, scores = predictions.boxes()[image], predictions.scores()[image]
    rows, labels = _candidates(scores, predictions.head.level_sizes, predictions.head.post)
    return _finish(boxes[rows], scores[rows, labels], labels, predictions.head.post, size)


def _second_stage(predictions: RoIPredictions, image: int, size: tuple[int, int]) -> Detections:
    """All classes of all proposals take part, in their order, which settles ties; each class has a box of its own."""
    own = slice(0, predictions.rois.shape[1] - predictions.given)
    rois, deltas = predictions.rois[image, own], predictions.deltas[image, own]
    boxes = predictions.codec.decode(deltas, rois[:, None].expand_as(deltas))
    scores = predictions.logits[image, own].softmax(-1)[:, : deltas.shape[1]]
    scores = torch.where(predictions.valid[image, own, None], scores, 0.0)
    rows, labels = (scores > predictions.post.score_thresh).nonzero(as_tuple=True)
    return _finish(boxes[rows, labels], scores[rows, labels], labels, predictions.post, size)


def _candidates(
    scores: Float[Tensor, "row class"], level_sizes: Sequence[int], post: PostProcessing
) -> tuple[Int64[Tensor, " candidate"], Int64[Tensor, " candidate"]]:
    """Rows and labels of the pairs above the threshold, at most so many of each group, best first in each."""
    allowed = scores > post.score_thresh
    if post.best_class_only:
        best = scores.argmax(1, keepdim=True)
        allowed = allowed & torch.zeros_like(allowed).scatter(1, best, True)
    every = torch.arange(scores.numel(), device=scores.device).view_as(scores)
    if post.topk_per == "level":
        groups = [block.flatten() for block in every.split(list(level_sizes))]
    elif post.topk_per == "class":
        groups = list(every.unbind(1))
    else:
        groups = [every.flatten()]
    found = []
    for group in groups:
        group = group[allowed.flatten()[group]]
        values = scores.flatten()[group]
        found.append(group[values.topk(min(post.topk_candidates, len(group))).indices])
    pairs = torch.cat(found)
    return pairs // scores.shape[1], pairs % scores.shape[1]


def _finish(
    boxes: Float[Tensor, "candidate 4"],
    scores: Float[Tensor, " candidate"],
    labels: Int64[Tensor, " candidate"],
    post: PostProcessing,
    size: tuple[int, int],
) -> Detections:
    limits = boxes.new_tensor((size[1], size[0])).expand(len(boxes), 2)
    clipped = clip(boxes, limits)
    fit = ((clipped[:, 2:] - clipped[:, :2]) >= post.min_size).all(1)
    chosen = clipped if post.clip == "before" else boxes
    chosen, clipped, scores, labels = chosen[fit], clipped[fit], scores[fit], labels[fit]
    if post.nms_thresh is None:
        keep = scores.argsort(descending=True, stable=True)
    elif post.class_offset is None:
        keep = batched_nms(chosen, scores, labels, post.nms_thresh)
    else:
        keep = nms(chosen + post.class_offset * labels[:, None], scores, post.nms_thresh)
    keep = keep[: post.detections_per_image]
    if post.drop_empty:
        keep = keep[((clipped[keep, 2:] - clipped[keep, :2]) > 0).all(1)]
    reported = boxes[fit] if post.clip == "never" else clipped
    return Detections(reported[keep].cpu(), scores[keep].cpu(), labels[keep].cpu(), size)
