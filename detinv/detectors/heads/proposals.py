"""Proposals of a region proposal network: fixed shapes, no gradient, no synchronisation with the device.

Legend: B images, C candidates of one level, R proposals.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from detinv.detectors.heads.predictions import DensePredictions
from detinv.layouts.boxes import clip

# Rounds of suppression on an accelerator, where testing for convergence would wait for the device. In practice,
# chains of boxes that suppress one another are a few links long.
_ACCELERATOR_ROUNDS = 48


class Proposals(NamedTuple):
    """What a region proposal network hands to the second stage, best first.

    Args:
        boxes: XYXY in pixels, clipped to the image; padded with unit boxes.
        valid: false for padding.
        rows: row of the proposal head from which each box was decoded.
    """

    boxes: Float[Tensor, "batch proposal 4"]
    valid: Bool[Tensor, "batch proposal"]
    rows: Int64[Tensor, "batch proposal"]

    @classmethod
    def none(cls, pixels: Float[Tensor, "batch 3 _ _"]) -> "Proposals":
        """Return zero proposals for each image of `pixels`."""
        shape = (len(pixels), 0)
        return cls(
            torch.zeros(*shape, 4, device=pixels.device),
            torch.zeros(shape, dtype=torch.bool, device=pixels.device),
            torch.zeros(shape, dtype=torch.int64, device=pixels.device),
        )


@torch.no_grad()
def propose(predictions: DensePredictions, limits: Float[Tensor, "batch 2"], by_logit: bool = False) -> Proposals:
    """Choose the boxes that a region proposal network hands to the second stage.

    On each level, the candidates of highest objectness are decoded, clipped to the image, filtered by size and score,
    and suppressed; of the survivors of all levels the best are kept. `predictions.head.post` has the limits.

    Args:
        predictions: of the proposal head, which has one class, "object".
        limits: (width, height) of each image, to which its boxes are clipped.
        by_logit: whether levels are ranked by logits, as in Detectron2, or by their sigmoids, as in torchvision, where
            sigmoids that round to the same number tie.

    Raises:
        ValueError: for a head that keeps local maxima.
    """
    head = predictions.head
    post = head.post
    if post.peak_kernel is not None:
        raise ValueError("proposals are suppressed by their overlap only; leave peak_kernel out")
    rounds = None if predictions.logits.device.type == "cpu" else _ACCELERATOR_ROUNDS
    boxes, scores, sources = [], [], []
    start = 0
    for size in head.level_sizes:
        level = predictions.logits[:, start : start + size, 0]
        logits, rows = level.topk(min(post.topk_candidates, size), dim=1)
        decoded = predictions.boxes(rows + start)
        candidates = clip(decoded, limits[:, None].expand(-1, decoded.shape[1], -1))
        score = logits.sigmoid()
        fit = ((candidates[..., 2:] - candidates[..., :2]) >= post.min_size).all(-1) & (score >= post.score_thresh)
        kept = suppress(candidates, fit, post.suppression, rounds)
        boxes.append(candidates)
        sources.append(rows + start)
        scores.append(torch.where(kept, logits if by_logit else score, -torch.inf))
        start += size
    # Stable, as in the library: equal scores stay in the order of levels and candidates.
    score, order = torch.cat(scores, dim=1).sort(dim=1, descending=True, stable=True)
    count = min(post.detections_per_image, score.shape[1])
    best = torch.cat(boxes, dim=1).gather(1, order[:, :count, None].expand(-1, -1, 4))
    valid = score[:, :count] > -torch.inf
    source = torch.cat(sources, dim=1).gather(1, order[:, :count])
    return Proposals(torch.where(valid[..., None], best, unit_box(best)), valid, source)


@torch.no_grad()
def suppress(
    boxes: Float[Tensor, "batch candidate 4"],
    valid: Bool[Tensor, "batch candidate"],
    iou_thresh: float,
    rounds: int | None = None,
) -> Bool[Tensor, "batch candidate"]:
    """Return which boxes greedy non-maximum suppression keeps; rows are ordered by descending score.

    Each round decides all rows in parallel: a row is kept if no kept row before it overlaps it by more than
    `iou_thresh`. After n rounds, every row whose chain of suppressions has fewer than n links is final.

    torchvision's `batched_nms` gives the same boxes, but as many as it happens to keep: an accelerator would have to
    wait for their number in every step, and nothing after it could be compiled.

    Args:
        boxes: XYXY, not reversed.
        valid: false for rows that are neither kept nor suppress others.
        rounds: number of rounds; by default until one changes nothing, which makes an accelerator wait.

    Source: cluster NMS, Zheng et al. 2020.
    """
    overlaps = _overlaps(boxes, iou_thresh)
    kept = valid
    for _ in range(boxes.shape[1] if rounds is None else rounds):
        suppressed = torch.bmm(kept[:, None].float(), overlaps)[:, 0] > 0
        decided = valid & ~suppressed
        if rounds is None and torch.equal(decided, kept):
            break
        kept = decided
    return kept


def _overlaps(
    boxes: Float[Tensor, "batch candidate 4"], iou_thresh: float
) -> Float[Tensor, "batch candidate candidate"]:
    """Return 1 where the row's box precedes the column's and overlaps it by more than the threshold, else 0."""
    # This takes most of the time, hence the operations in place and the contiguous columns.
    x0, y0, x1, y1 = (column.contiguous() for column in boxes.unbind(-1))
    intersection = torch.minimum(x1[:, :, None], x1[:, None])
    intersection.sub_(torch.maximum(x0[:, :, None], x0[:, None])).clamp_(min=0)
    other = torch.minimum(y1[:, :, None], y1[:, None])
    intersection.mul_(other.sub_(torch.maximum(y0[:, :, None], y0[:, None])).clamp_(min=0))
    areas = (x1 - x0) * (y1 - y0)
    union = torch.add(areas[:, :, None], areas[:, None], out=other).sub_(intersection)
    # Two empty boxes give 0 / 0, which exceeds nothing.
    return intersection.div_(union).gt_(iou_thresh).triu_(1)


def unit_box(like: Tensor) -> Float[Tensor, " 4"]:
    """Return the box that pads rows: one pixel at the origin, on the device and in the dtype of `like`."""
    box = like.new_zeros(4)
    box[2:] = 1
    return box
