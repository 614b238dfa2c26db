"""Which detections are explained when maps are judged, and why others are not."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Int64
from torch import Tensor

from detinv.inputs.ranges import check_range
from detinv.layouts.boxes import pairwise_iou
from detinv.layouts.layout import Detections, Layout

EXCLUSIONS = {
    "unmatched": "no annotated object of the class overlaps it enough",
    "duplicate": "its object is explained by a detection of higher score",
    "beyond": "beyond the number of objects for each image",
}
"""Why a detection is not explained, by the names of the counts."""


@dataclass(frozen=True)
class ObjectRule:
    """Which detections count: those of an annotated object's class that overlap it, one for each object.

    Args:
        min_score: detections of a lower score are not considered at all.
        min_iou: least overlap with the annotated box.
        per_image: of highest score; None for all.
    """

    min_score: float = 0.5
    min_iou: float = 0.5
    per_image: int | None = None

    def __post_init__(self) -> None:
        check_range(self, "min_score min_iou", 0.0, 1.0)
        check_range(self, "per_image", 1)

    def matched(
        self, found: Detections, layout: Layout
    ) -> tuple[Int64[Tensor, " chosen"], Int64[Tensor, " chosen"], Mapping[str, int]]:
        """Return numbers of detections and of their annotated objects, and how many detections were left out, and why.

        Detections choose their object in the order of their scores, as in COCO's evaluation.

        Args:
            found, layout: of one image, in its frame and with the same class numbers.
        """
        order = found.scores.argsort(descending=True, stable=True)
        order = order[found.scores[order] >= self.min_score]
        counts = {"considered": len(order), **dict.fromkeys(EXCLUSIONS, 0)}
        pairs: list[tuple[int, int]] = []
        if len(layout) and len(order):
            overlap = pairwise_iou(found.boxes[order], layout.boxes)
            overlap = overlap.where(found.labels[order][:, None] == layout.labels, -1.0)
        else:
            overlap = torch.full((len(order), 1), -1.0)
        free = torch.ones(overlap.shape[1], dtype=torch.bool)
        for row, mine in zip(order.tolist(), overlap, strict=True):
            reached = mine >= max(self.min_iou, 1e-6)
            if not bool(reached.any()):
                counts["unmatched"] += 1
            elif not bool((reached & free).any()):
                counts["duplicate"] += 1
            elif self.per_image is not None and len(pairs) == self.per_image:
                counts["beyond"] += 1
            else:
                best = int(mine.where(reached & free, -1.0).argmax())
                free[best] = False
                pairs.append((row, best))
        chosen = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)
        return chosen[:, 0], chosen[:, 1], counts
