"""What a detector reports, from its raw predictions and the post-processing it declares.

The inversion never runs this: it is how an adapter proves that its raw predictions are the detector's, how detections
are traced to their raw rows, and how a test sees what pseudo-targets would make of them.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torchvision.ops import batched_nms, nms

from detinv.detectors.heads.predictions import DensePredictions, PostProcessing, Predictions, RoIPredictions
from detinv.layouts.boxes import clip
from detinv.layouts.layout import Detections


@torch.no_grad()
def postprocess(predictions: Predictions, image_sizes: Sequence[tuple[int, int]]) -> list[Detections]:
    """Return the detections of each image in the frame of the network's input: best first, with rows, without masks.

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
    names = rows if predictions.identities is None else predictions.identities[image, rows]
    candidates = Detections(boxes[rows], scores[rows, labels], labels, size, rows=names)
    return _finish(candidates, predictions.head.post)


def _second_stage(predictions: RoIPredictions, image: int, size: tuple[int, int]) -> Detections:
    """All classes of all proposals take part, in their order, which settles ties; each class has a box of its own."""
    own = slice(0, predictions.rois.shape[1] - predictions.given)
    rois, deltas = predictions.rois[image, own], predictions.deltas[image, own]
    boxes = predictions.codec.decode(deltas, rois[:, None].expand_as(deltas))
    scores = predictions.logits[image, own].softmax(-1)[:, : deltas.shape[1]]
    scores = torch.where(predictions.valid[image, own, None], scores, 0.0)
    rows, labels = (scores > predictions.post.score_thresh).nonzero(as_tuple=True)
    candidates = Detections(boxes[rows, labels], scores[rows, labels], labels, size, rows=rows, regions=rois[rows])
    return _finish(candidates, predictions.post)


def _candidates(
    scores: Float[Tensor, "row class"], level_sizes: Sequence[int], post: PostProcessing
) -> tuple[Int64[Tensor, " candidate"], Int64[Tensor, " candidate"]]:
    """Return rows and labels of the pairs above the threshold: the best of each group, best first in each."""
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


def _finish(candidates: Detections, post: PostProcessing) -> Detections:
    """Clip, filter and suppress as the library does; on the CPU afterwards."""
    height, width = candidates.image_size
    limits = candidates.boxes.new_tensor((width, height)).expand(len(candidates), 2)
    clipped = clip(candidates.boxes, limits)
    fit = ((clipped[:, 2:] - clipped[:, :2]) >= post.min_size).all(1)
    candidates, clipped = candidates.select(fit), clipped[fit]
    chosen = clipped if post.clip == "before" else candidates.boxes
    if post.nms_thresh is None:
        keep = candidates.scores.argsort(descending=True, stable=True)
    elif post.class_offset is None:
        keep = batched_nms(chosen, candidates.scores, candidates.labels, post.nms_thresh)
    else:
        keep = nms(chosen + post.class_offset * candidates.labels[:, None], candidates.scores, post.nms_thresh)
    keep = keep[: post.detections_per_image]
    if post.drop_empty:
        keep = keep[((clipped[keep, 2:] - clipped[keep, :2]) > 0).all(1)]
    reported = candidates if post.clip == "never" else replace(candidates, boxes=clipped)
    return reported.select(keep).cpu()
