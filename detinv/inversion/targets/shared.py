"""Functions that several target rules share."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torchvision.ops import roi_align

from detinv.detectors.heads.assigners import Assignment
from detinv.detectors.heads.peaks import summits
from detinv.detectors.heads.predictions import DensePredictions, RoIPredictions
from detinv.inversion.targets.base import RoITargets
from detinv.layouts.batch import LayoutBatch


def top_rows(
    rank: Float[Tensor, "batch anchor"], level_sizes: tuple[int, ...], topk: int
) -> Int64[Tensor, "batch row"]:
    """Return the rows of highest rank, at most `topk` per level; how many depends on the sizes only."""
    rows, start = [], 0
    for size in level_sizes:
        if size <= topk:
            rows.append(torch.arange(start, start + size, device=rank.device).expand(len(rank), -1))
        else:
            rows.append(rank[:, start : start + size].topk(topk, dim=1, sorted=False).indices + start)
        start += size
    return torch.cat(rows, dim=1)


def take(values: Tensor, index: Int64[Tensor, "batch row"]) -> Tensor:
    """Return values[b, index[b, r]] for values of shape (batch, n, ...)."""
    tail = values.shape[2:]
    return values.gather(1, index.view(*index.shape, *[1] * len(tail)).expand(*index.shape, *tail))


def class_onehot(labels: Int64[Tensor, "*rows"], num_classes: int, keep: Bool[Tensor, "*rows"]) -> Tensor:
    """Return one-hot rows (float), all zero where `keep` is false."""
    classes = torch.arange(num_classes, device=labels.device)
    return ((labels[..., None] == classes) & keep[..., None]).float()


def is_chosen(
    best: Int64[Tensor, "batch object"], valid: Bool[Tensor, "batch object"], rows: int
) -> Bool[Tensor, "batch row"]:
    """Return which of a head's rows represent an object."""
    chosen = torch.zeros(len(best), rows + 1, dtype=torch.bool, device=best.device)
    return chosen.scatter(1, torch.where(valid, best, rows), True)[:, :rows]


def slot_of(
    rows: Int64[Tensor, "batch row"], best: Int64[Tensor, "batch object"], valid: Bool[Tensor, "batch object"]
) -> Int64[Tensor, "batch row"]:
    """Return the object slot whose best row each row is, or -1."""
    same = (rows[:, :, None] == best[:, None]) & valid[:, None]
    found, slot = same.max(-1)
    return torch.where(found, slot, -1)


def best_candidates(
    predictions: DensePredictions, layouts: LayoutBatch, assignment: Assignment
) -> Int64[Tensor, "batch object"]:
    """Return each object's row with the highest logit of its class, among those that training would assign to it."""
    batch, objects, count = assignment.candidates.shape
    rows = assignment.candidates.view(batch, objects * count)
    logits = take(predictions.logits, rows).view(batch, objects, count, -1)
    wanted = layouts.labels[:, :, None, None].expand(-1, -1, count, 1)
    logits = logits.gather(3, wanted)[..., 0].masked_fill(~assignment.candidates_valid, -torch.inf)
    return assignment.candidates.gather(2, logits.argmax(2, keepdim=True))[..., 0]


def beneath_objects(
    predictions: DensePredictions,
    layouts: LayoutBatch,
    owner: Int64[Tensor, "batch anchor"],
    strength: Float[Tensor, "batch anchor"] | None = None,
) -> Bool[Tensor, "batch anchor class"]:
    """Return which pairs of row and class the objects' rows suppress in a head that keeps local maxima.

    From such a row, going to the highest cell of the window again and again leads to a row of an object of the class.
    All cells on the way are such rows as well, so what suppresses it stays, whatever is asked of other rows. Cells of
    equal scores are not told apart.

    Args:
        owner: object slot whose class each row is to report, or -1 for a row whose scores are as predicted.
        strength: scores that the rows of objects are to have, in (0, 1]; by default 1.
    """
    head, owned = predictions.head, owner >= 0
    assert head.post.peak_kernel is not None
    # Only the classes of the objects matter, one map for each slot.
    labels = layouts.labels[:, None].expand(-1, owner.shape[1], -1)
    wanted = ((take(layouts.labels, owner.clamp(min=0))[..., None] == labels) & owned[..., None]).float()
    if strength is not None:
        wanted = wanted * strength[..., None]
    predicted = head.scoring.log_scores(predictions.logits.gather(2, labels), predictions.quality_logits)
    scores = torch.where(owned[..., None], wanted.log(), predicted)
    beneath = wanted.gather(1, summits(scores, head.grids, head.post.peak_kernel)) > 0
    return (beneath.float() @ class_onehot(layouts.labels, predictions.num_classes, layouts.valid)) > 0


def centerness(
    anchors: Float[Tensor, "batch row 4"], boxes: Float[Tensor, "batch row 4"]
) -> Float[Tensor, "batch row"]:
    """Return sqrt(min(l, r) / max(l, r) * min(t, b) / max(t, b)) of the anchors' centres in `boxes`; 0 outside.

    Source: Tian et al. 2019, equation 3.
    """
    points = (anchors[..., :2] + anchors[..., 2:]) / 2
    near, far = (points - boxes[..., :2]).clamp(min=0), (boxes[..., 2:] - points).clamp(min=0)
    ratio = torch.minimum(near, far) / torch.maximum(near, far).clamp(min=1e-6)
    return (ratio[..., 0] * ratio[..., 1]).sqrt()


def mask_targets(layouts: LayoutBatch, side: int) -> Float[Tensor, "batch object side side"] | None:
    """Return each object's mask, cropped to its box and averaged over a grid of side x side cells."""
    if layouts.masks is None:
        return None
    batch, objects, height, width = layouts.masks.shape
    index = torch.arange(batch * objects, device=layouts.boxes.device, dtype=layouts.boxes.dtype)
    boxes = torch.cat([index[:, None], layouts.boxes.reshape(-1, 4)], dim=1)
    masks = layouts.masks.reshape(-1, 1, height, width).to(layouts.boxes.dtype)
    crops = roi_align(masks, boxes, (side, side), sampling_ratio=2, aligned=True)
    return (crops >= 0.5).to(crops.dtype).view(batch, objects, side, side)


def roi_targets(
    predictions: RoIPredictions,
    layouts: LayoutBatch,
    slot: Int64[Tensor, "batch roi"],
    foreground: Bool[Tensor, "batch roi"],
    weights: Float[Tensor, "batch roi"],
) -> RoITargets:
    """Build the second stage's targets from the object of each region.

    Args:
        slot: object of each region, meaningful where `foreground` is true; all other regions are background.
        weights: weight of each region; divided by their sum over the image.
    """
    weights = weights / weights.sum(1, keepdim=True).clamp(min=1)
    deltas = predictions.codec.encode(take(layouts.boxes, slot), predictions.rois)
    side = 0 if predictions.mask_logits is None else predictions.mask_logits.shape[-1]
    return RoITargets(
        labels=torch.where(foreground, take(layouts.labels, slot), predictions.deltas.shape[2]),
        class_weights=weights,
        delta_targets=torch.where(foreground[..., None], deltas, 0.0),
        delta_weights=weights * foreground,
        mask_targets=mask_targets(layouts, side) if side else None,
        object_weights=layouts.valid.float(),
        object_labels=layouts.labels,
    )
