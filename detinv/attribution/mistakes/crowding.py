"""How crowded the objects of a layout are, as a detector's rows see it.

Legend: M objects of one image, A rows of the dense head.
"""

from enum import StrEnum

import torch
from jaxtyping import Bool, Int64
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from torch import Tensor

from detinv.detectors.heads.assigning import assign_rows
from detinv.detectors.heads.peaks import highest_around
from detinv.detectors.heads.predictions import DenseHead, DensePredictions, Predictions
from detinv.layouts.batch import LayoutBatch
from detinv.layouts.boxes import pairwise_iou
from detinv.layouts.layout import Layout

# IoU from which two objects overlap.
_OVERLAP = 0.1


class Crowding(StrEnum):
    """What an object shares with others; the first that is true of it.

    SUPPRESSED: its IoU with an object of its class is above that of suppression, or the row of such an object is so
    near that only one of both can be a local maximum. NO_ROW: of the rows that can have its box, others need all.
    SAME_ROW: the row that stands for it stands for another object as well. SOME_ROWS: it shares other rows. OVERLAPS:
    its IoU with another object is above 0.1.
    """

    SUPPRESSED = "overlaps one of its class too much"
    NO_ROW = "no row left for its box"
    SAME_ROW = "wants the row of another"
    SOME_ROWS = "shares rows with another"
    OVERLAPS = "overlaps another"
    ALONE = "alone"


@torch.no_grad()
def crowding(predictions: Predictions, layout: Layout) -> list[Crowding]:
    """Return how crowded each object is.

    An object's rows are those that the detector's training would assign to it if there were no other object.

    Args:
        predictions: of the one image; of a two-stage detector, the rows are those of its proposal head.
        layout: its objects, in pixels of the network's input.
    """
    if not len(layout):
        return []
    dense, post = predictions.dense, (predictions.roi or predictions.dense.head).post
    boxes, labels = layout.boxes.to(dense.deltas), layout.labels.to(dense.deltas.device)
    others = ~torch.eye(len(layout), dtype=torch.bool, device=boxes.device)
    iou = pairwise_iou(boxes, boxes)
    same_row = some_rows = torch.zeros(len(layout), dtype=torch.bool, device=boxes.device)
    close = iou > post.suppression
    if dense.head.assigner is not None:
        rows, best = _rows_alone(dense, layout)
        shared = rows.float() @ rows.float().T > 0
        same_row, some_rows = ((best[:, None] == best) & others).any(1), (shared & others).any(1)
        close = close | _beside(dense.head, best)
    kinds = torch.stack(
        [
            (close & (labels[:, None] == labels) & others).any(1),
            _without_row(dense.head.codec.expresses(boxes[None], dense.head.anchors)[0]).to(boxes.device),
            same_row,
            some_rows,
            ((iou > _OVERLAP) & others).any(1),
            torch.ones_like(some_rows),
        ]
    )
    every = list(Crowding)
    return [every[kind] for kind in kinds.int().argmax(0).tolist()]


def _rows_alone(dense: DensePredictions, layout: Layout) -> tuple[Bool[Tensor, "object row"], Int64[Tensor, " object"]]:
    """Return the rows that each object would have if it were alone, and the one that stands for it."""
    rows, best = [], []
    for number in range(len(layout)):
        alone = layout.without_masks().select(torch.arange(len(layout)) == number)
        found = assign_rows(dense, LayoutBatch.collate([alone]).to(dense.logits.device))
        rows.append(found.owner[0] == 0)
        best.append(found.candidates[0, 0, 0])
    return torch.stack(rows), torch.stack(best)


def _beside(head: DenseHead, rows: Int64[Tensor, " object"]) -> Bool[Tensor, "object other"]:
    """Return of which pairs of different cells only the better one can be a local maximum."""
    if head.post.peak_kernel is None:
        return torch.zeros(len(rows), len(rows), dtype=torch.bool, device=rows.device)
    at = torch.zeros(1, len(head.anchors), len(rows), device=rows.device)
    at[0, rows, torch.arange(len(rows), device=rows.device)] = 1.0
    around, _ = highest_around(at, head.grids, head.post.peak_kernel)
    return (around[0, rows] > 0) & (rows[:, None] != rows)


def _without_row(able: Bool[Tensor, "object row"]) -> Bool[Tensor, " object"]:
    """Return the objects that get no row where as many as possible get one each."""
    # An object with as many rows as there are objects gets one in any case.
    scarce = able.sum(1) < len(able)
    without = torch.zeros(len(able), dtype=torch.bool)
    if bool(scarce.any()):
        given = maximum_bipartite_matching(csr_array(able[scarce].cpu().numpy()), perm_type="column")
        without[scarce.cpu()] = torch.from_numpy(given < 0)
    return without
