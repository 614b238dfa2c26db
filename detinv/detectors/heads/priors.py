"""Heads with several priors in each cell, as those of YOLOv3 to YOLOv7: rows, box codec and assigner.

A prior is a usual (width, height) of objects. A row is a prior of a cell of a level; its anchor has the prior's sides
and is centred on the cell.

Legend: B images, M object slots, A rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from detinv.detectors.heads.assigners import Assignment, give_rows
from detinv.layouts.matching import distinct_best

Priors = tuple[tuple[tuple[float, float], ...], ...]
"""(width, height) in pixels of the priors of each level, finest level first."""

# Share of the range of a sigmoid that codes stay away from its ends, where they would be infinite. Centres on the edge
# of a cell are frequent, and lose a few hundredths of a pixel by it.
_END = 5e-4
# Shifts that rounding moves beyond such an edge.
_ROUNDING = 1e-5
# Most that exp may multiply a side by.
_LOG_SIDE = 12.0
# Most rows of an object from which the positive term picks the one with the highest logit.
_CANDIDATES = 16


def prior_rows(
    cells: Float[Tensor, "cell 4"], level_sizes: Sequence[int], priors: Priors
) -> tuple[Float[Tensor, "row 4"], tuple[int, ...]]:
    """Return the anchors of all rows, ordered by level, then by cell, then by prior, and how many rows each level has.

    Args:
        cells: of all levels, XYXY in pixels; see `GridHeads`.
        level_sizes: cells of each level.
    """
    anchors = []
    for level, sides in zip(cells.split(list(level_sizes)), priors, strict=True):
        centres = (level[:, None, :2] + level[:, None, 2:]) / 2
        half = level.new_tensor(sides)[None] / 2
        anchors.append(torch.cat([centres - half, centres + half], dim=-1).flatten(0, 1))
    return torch.cat(anchors), tuple(map(len, anchors))


@dataclass(frozen=True)
class PriorCodec:
    """(dx, dy, dw, dh): a sigmoid for the shift within the cell, and a factor for each side of the prior.

    With a cell of `stride` pixels around the anchor's centre c, the box's centre is
    c + ((1 + 2 reach) sigmoid(d) - 1/2 - reach) stride. Its sides are prior exp(d), or prior (2 sigmoid(d))^2.

    A row's stride is that of the level to which its prior belongs.

    Args:
        strides: in pixels, of each level.
        priors: of each level; no two levels may share one.
        reach: cells that a centre may lie outside its cell: 0 for YOLOv3, half of `scale_x_y` - 1 for YOLOv4, 0.5 for
            YOLOv5, YOLOv7 and Scaled-YOLOv4.
        sizes: "exp" for YOLOv3 and YOLOv4, "squared" for the others.

    Raises:
        ValueError: when levels share a prior, or strides are not given for each.

    Source: Redmon & Farhadi 2018, section 2.1; Bochkovskiy et al. 2020, section 3.4 ("eliminate grid sensitivity");
        Wang et al. 2021, "Scaled-YOLOv4", appendix.
    """

    parts: ClassVar = ("dx", "dy", "dw", "dh")
    strides: tuple[int, ...]
    priors: Priors
    reach: float = 0.0
    sizes: Literal["exp", "squared"] = "exp"

    def __post_init__(self) -> None:
        if len(self.strides) != len(self.priors):
            raise ValueError(f"{len(self.priors)} levels of priors need as many strides, got {self.strides}")
        owners: dict[tuple[float, float], int] = {}
        for level, sides in enumerate(self.priors):
            for prior in sides:
                if owners.setdefault(prior, level) != level:
                    raise ValueError(f"levels {owners[prior]} and {level} share the prior {prior}")

    def decode(self, deltas: Float[Tensor, "*rows 4"], anchors: Float[Tensor, "*rows 4"]) -> Float[Tensor, "*rows 4"]:
        stride = self.stride_of(anchors)
        centres, sides = (anchors[..., :2] + anchors[..., 2:]) / 2, anchors[..., 2:] - anchors[..., :2]
        span = 1 + 2 * self.reach
        centres = centres + (span * deltas[..., :2].sigmoid() - span / 2) * stride
        if self.sizes == "exp":
            half = sides * deltas[..., 2:].clamp(max=_LOG_SIDE).exp() / 2
        else:
            half = sides * (2 * deltas[..., 2:].sigmoid()).square() / 2
        return torch.cat([centres - half, centres + half], dim=-1)

    def encode(self, boxes: Float[Tensor, "*rows 4"], anchors: Float[Tensor, "*rows 4"]) -> Float[Tensor, "*rows 4"]:
        shift, factor = self._relative(boxes, anchors)
        shift = shift.clamp(_END, 1 - _END).logit()
        if self.sizes == "exp":
            return torch.cat([shift, factor.log().clamp(max=_LOG_SIDE)], dim=-1)
        return torch.cat([shift, (factor.sqrt() / 2).clamp(_END, 1 - _END).logit()], dim=-1)

    def expresses(
        self, boxes: Float[Tensor, "batch object 4"], anchors: Float[Tensor, "anchor 4"]
    ) -> Bool[Tensor, "batch object anchor"]:
        rows = (*boxes.shape[:2], len(anchors), 4)
        shift, factor = self._relative(boxes[:, :, None].expand(rows), anchors.expand(rows))
        able = ((shift >= -_ROUNDING) & (shift <= 1 + _ROUNDING)).all(-1)
        if self.sizes == "exp":
            return able & (factor > 0).all(-1)
        share = factor.sqrt() / 2
        return able & ((share >= _END) & (share <= 1 - _END)).all(-1)

    def stride_of(self, anchors: Float[Tensor, "*rows 4"]) -> Float[Tensor, "*rows 1"]:
        """Return the stride of each row, known by the sides of its anchor."""
        strides, sides = _table(self, anchors.device)
        apart = ((anchors[..., None, 2:] - anchors[..., None, :2]) - sides).abs().sum(-1)
        return strides[apart.argmin(-1)][..., None]

    def _relative(
        self, boxes: Float[Tensor, "*rows 4"], anchors: Float[Tensor, "*rows 4"]
    ) -> tuple[Float[Tensor, "*rows 2"], Float[Tensor, "*rows 2"]]:
        """Return the shift that a sigmoid must give, in [0, 1] where it can, and each side over the prior's."""
        centres, points = (boxes[..., :2] + boxes[..., 2:]) / 2, (anchors[..., :2] + anchors[..., 2:]) / 2
        shift = (centres - points) / (self.stride_of(anchors) * (1 + 2 * self.reach)) + 0.5
        sides = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
        return shift, sides / (anchors[..., 2:] - anchors[..., :2])


@lru_cache(maxsize=64)
def _table(codec: PriorCodec, device: torch.device) -> tuple[Float[Tensor, " prior"], Float[Tensor, "prior 2"]]:
    """Return stride and sides of every prior, copied to the device only once, as a step must not wait for it."""
    pairs = [(stride, side) for stride, sides in zip(codec.strides, codec.priors, strict=True) for side in sides]
    # Constants made under inference mode could not be saved for a later backward pass.
    with torch.inference_mode(False):
        strides = torch.tensor([float(stride) for stride, _ in pairs], device=device)
        return strides, torch.tensor([list(side) for _, side in pairs], dtype=torch.float32, device=device)


@dataclass(frozen=True)
class PriorAssigner:
    """Assigns to an object the priors that its shape fits, in the cells that can have its centre.

    - "best" (YOLOv3): of all priors of all levels the one of highest IoU when both are centred on one another;
      with `iou_thresh` (YOLOv4) also all those above it. In the cell that holds the centre.
    - "ratio" (YOLOv5, YOLOv7): all priors whose sides are within a factor of `ratio` of the object's. In the cell that
      holds the centre, and in its two nearest neighbours.

    A row that several objects ask for goes to the one whose shape fits it best. An object without a row takes the one
    that fits best among those that can have its box.

    Args:
        codec: of the head; says which rows can have a box, and how far a centre may lie outside its cell.
        rule: see above.
        iou_thresh: of "best"; None for none.
        ratio: of "ratio".

    Source: Redmon & Farhadi 2018, section 2.1, and the published code of the others.
    Departures: every object has a row, no row has two; and YOLOv3's training ignores other rows whose predicted box
        overlaps an object by more than 0.7, YOLOv7's drops some of those above again by their predictions.
    """

    codec: PriorCodec
    rule: Literal["best", "ratio"] = "best"
    iou_thresh: float | None = None
    ratio: float = 4.0

    def assign(
        self,
        anchors: Float[Tensor, "anchor 4"],
        level_sizes: tuple[int, ...],
        boxes: Float[Tensor, "batch object 4"],
        valid: Bool[Tensor, "batch object"],
    ) -> Assignment:
        points, sides = (anchors[:, :2] + anchors[:, 2:]) / 2, anchors[:, 2:] - anchors[:, :2]
        centres, wanted = (boxes[..., :2] + boxes[..., 2:]) / 2, (boxes[..., 2:] - boxes[..., :2])[:, :, None]
        offset = ((centres[:, :, None] - points) / self.codec.stride_of(anchors)).abs()
        shape = torch.minimum(wanted, sides).prod(-1)
        shape = shape / (wanted.prod(-1) + sides.prod(-1) - shape)
        if self.rule == "ratio":
            fits = torch.maximum(wanted / sides, sides / wanted).amax(-1) < self.ratio
            # Beside the cell or above it, but not both.
            near = (offset < 0.5 + self.codec.reach).all(-1) & (offset <= 0.5).any(-1)
        else:
            fits = shape >= shape.amax(-1, keepdim=True)
            if self.iou_thresh is not None:
                fits = fits | (shape > self.iou_thresh)
            near = (offset <= 0.5).all(-1)
        able = self.codec.expresses(boxes, anchors)
        asked = fits & near & able & valid[..., None]
        highest, best_fit = torch.where(asked, shape, -1.0).max(1)
        owner = torch.where(highest >= 0, best_fit, -1)
        slots = torch.arange(boxes.shape[1], device=boxes.device)[:, None]
        mine = owner[:, None] == slots
        distance = offset.amax(-1)
        # Own rows first, then any that can have its box, then the nearest.
        affinity = torch.where(able, shape, -distance / (1 + distance)) + 2.0 * mine + 1.0 * able
        best = distinct_best(affinity - 1e-3 * distance / (1 + distance), valid)
        owner = give_rows(owner, best, valid)
        rank = torch.where(owner[:, None] == slots, shape, -1.0).scatter(2, best[..., None], 2.0)
        value, candidates = rank.topk(min(_CANDIDATES, len(anchors)), dim=2)
        return Assignment(owner, ~asked.any(1) & (owner < 0), candidates, (value >= 0) & valid[..., None])
