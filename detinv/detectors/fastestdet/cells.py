"""How FastestDet's cells describe boxes, and which cells an object trains.

An anchor is one cell large and centred on the point that shifts are measured from: the cell's upper left corner.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from detinv.detectors.heads.assigners import Assignment
from detinv.layouts.matching import distinct_best

# Distance that targets keep from the limits of tanh and sigmoid, where the delta would be infinite. A box as wide as
# the image loses a few hundredths of a pixel; a centre almost a cell away cannot be reached at all.
_SHIFT_END, _SHARE_END = 0.01, 1e-4


@dataclass(frozen=True)
class CellCodec:
    """(dx, dy, dw, dh): tanh of the shift in cells, sigmoid of the side as a share of the image.

    Args:
        height, width: of the image, in pixels.
    """

    parts: ClassVar = ("dx", "dy", "dw", "dh")
    height: int
    width: int

    def decode(self, deltas: Float[Tensor, "*rows 4"], anchors: Float[Tensor, "*rows 4"]) -> Float[Tensor, "*rows 4"]:
        points, cell = _points(anchors)
        centres = points + deltas[..., :2].tanh() * cell
        half = deltas[..., 2:].sigmoid() * self._limits(deltas) / 2
        return torch.cat([centres - half, centres + half], dim=-1)

    def encode(self, boxes: Float[Tensor, "*rows 4"], anchors: Float[Tensor, "*rows 4"]) -> Float[Tensor, "*rows 4"]:
        points, cell = _points(anchors)
        centres, sides = (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
        shift = ((centres - points) / cell).clamp(_SHIFT_END - 1, 1 - _SHIFT_END)
        share = (sides / self._limits(boxes)).clamp(_SHARE_END, 1 - _SHARE_END)
        return torch.cat([shift.atanh(), share.logit()], dim=-1)

    def expresses(
        self, boxes: Float[Tensor, "batch object 4"], anchors: Float[Tensor, "anchor 4"]
    ) -> Bool[Tensor, "batch object anchor"]:
        points, cell = _points(anchors)
        centres, sides = (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
        near = ((centres[:, :, None] - points).abs() <= (1 - _SHIFT_END) * cell).all(-1)
        share = sides / self._limits(boxes)
        return near & ((share >= _SHARE_END) & (share <= 1 + _SHARE_END)).all(-1)[..., None]

    def _limits(self, like: Float[Tensor, "*rows 4"]) -> Float[Tensor, "*rows 2"]:
        # Made on the device: a list copied there would make every step wait.
        return torch.stack([torch.full_like(like[..., 0], self.width), torch.full_like(like[..., 0], self.height)], -1)


@dataclass(frozen=True)
class CellAssigner:
    """The four cells around an object's centre, but for the first row and column, as in FastestDet's training.

    Of several objects that ask for a cell, the one with the nearest centre has it; every object has at least one.

    Departures: training also drops those of the four whose box fits worse than the average.
    """

    def assign(
        self,
        anchors: Float[Tensor, "anchor 4"],
        level_sizes: tuple[int, ...],
        boxes: Float[Tensor, "batch object 4"],
        valid: Bool[Tensor, "batch object"],
    ) -> Assignment:
        points, cell = _points(anchors)
        centres = (boxes[..., :2] + boxes[..., 2:]) / 2
        offset = ((centres[:, :, None] - points) / cell).abs().amax(-1)
        trained = (points > 0).all(-1)
        asked = (offset < 1) & trained & valid[..., None]
        distance, nearest = torch.where(asked, offset, torch.inf).min(dim=1)
        owner = torch.where(distance.isfinite(), nearest, -1)

        # Untrained cells last: far objects would take them otherwise when all others are gone.
        best = distinct_best(-offset - 1.0 * ~trained, valid)
        standing = torch.zeros_like(asked).scatter(2, best[..., None], valid[..., None])
        owner = torch.where(standing.any(1), standing.float().argmax(1), owner)
        return Assignment(owner, ~asked.any(dim=1), best[..., None], valid[..., None])


def _points(anchors: Float[Tensor, "*rows 4"]) -> tuple[Float[Tensor, "*rows 2"], Float[Tensor, "*rows 2"]]:
    """Return the upper left corner of each anchor's cell, and the cell's sides."""
    return (anchors[..., :2] + anchors[..., 2:]) / 2, anchors[..., 2:] - anchors[..., :2]
