"""How far two reports of the same images agree."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detinv.detectors.locate import BOX_TOLERANCE, SCORE_TOLERANCE
from detinv.layouts.layout import Detections


@dataclass(frozen=True)
class Agreement:
    """What two reports have in common.

    Args:
        matched: detections that both have.
        total: of the longer report, over all images.
        pairs: boxes of those that both have, of the one and of the other.
        box_error, score_error: largest differences among them, in pixels and in scores.
    """

    matched: int
    total: int
    pairs: tuple[Float[Tensor, "matched 4"], Float[Tensor, "matched 4"]]
    box_error: float
    score_error: float


def agreement(
    ours: Sequence[Detections], own: Sequence[Detections], boxes: bool = True, scores: bool = True
) -> Agreement:
    """Pair the detections of two reports, nearest boxes first among those that agree.

    Args:
        ours, own: of each image.
        boxes, scores: whether boxes, or classes and scores, must agree.
    """
    left, right, score_error, total = [torch.zeros(0, 4)], [torch.zeros(0, 4)], 0.0, 0
    for one, other in zip(ours, own, strict=True):
        rows, places = paired(one, other, boxes, scores)
        left.append(one.boxes[rows].float())
        right.append(other.boxes[places].float())
        if len(rows):
            score_error = max(score_error, float((one.scores[rows] - other.scores[places]).abs().max()))
        total += max(len(one), len(other))
    mine, theirs = torch.cat(left), torch.cat(right)
    box_error = float((mine - theirs).abs().max()) if len(mine) else 0.0
    return Agreement(len(mine), total, (mine, theirs), box_error, score_error)


def paired(one: Detections, other: Detections, boxes: bool = True, scores: bool = True) -> tuple[list[int], list[int]]:
    """Return the numbers of detections that agree, in pairs; see `agreement`."""
    if not len(one) or not len(other):
        return [], []
    apart = torch.nan_to_num((one.boxes[:, None] - other.boxes[None]).abs().amax(-1), torch.inf)
    same = torch.ones_like(apart, dtype=torch.bool)
    if boxes:
        same &= apart <= BOX_TOLERANCE
    if scores:
        same &= one.labels[:, None] == other.labels[None]
        same &= (one.scores[:, None] - other.scores[None]).abs() <= SCORE_TOLERANCE
    apart = torch.where(same, apart, torch.inf)
    rows, places = [], []
    for place in range(len(other)):
        error, row = apart[:, place].min(0)
        if torch.isfinite(error):
            rows.append(int(row))
            places.append(place)
            apart[int(row)] = torch.inf
    return rows, places
