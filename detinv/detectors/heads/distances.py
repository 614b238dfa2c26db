"""Box codec of heads that predict the distances of the four sides from a point, often as distributions."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from detinv.detectors.heads.codec import DISTANCES, DistanceCodec


@dataclass(frozen=True)
class PointCodec:
    """(left, top, right, bottom): signed distances from the anchor's centre, as the head predicts them.

    Means of distributions are never negative. Heads without distributions may put a side beyond the centre, which is
    decoded as it is, without a ReLU.

    Args:
        reach: largest distance, in sides of the anchor: the value of a distribution's last bin.
        unit: (width, height) in pixels of a distance of one; None for the anchor's sides.
    """

    parts: ClassVar = DISTANCES
    reach: float = math.inf
    unit: tuple[float, float] | None = None

    def decode(self, deltas: Float[Tensor, "*rows 4"], anchors: Float[Tensor, "*rows 4"]) -> Float[Tensor, "*rows 4"]:
        sides = anchors[..., 2:] - anchors[..., :2]
        centres = anchors[..., :2] + 0.5 * sides
        width, height = self._unit(sides)
        x, y = centres.unbind(-1)
        left, top, right, bottom = deltas.unbind(-1)
        return torch.stack([x - left * width, y - top * height, x + right * width, y + bottom * height], dim=-1)

    def encode(self, boxes: Float[Tensor, "*rows 4"], anchors: Float[Tensor, "*rows 4"]) -> Float[Tensor, "*rows 4"]:
        distances = DistanceCodec().encode(boxes, anchors)
        if self.unit is None:
            return distances
        sides = anchors[..., 2:] - anchors[..., :2]
        width, height = self._unit(sides)
        factors = torch.stack([sides[..., 0] / width, sides[..., 1] / height], dim=-1)
        return distances * torch.cat([factors, factors], dim=-1)

    def expresses(
        self, boxes: Float[Tensor, "batch object 4"], anchors: Float[Tensor, "anchor 4"]
    ) -> Bool[Tensor, "batch object anchor"]:
        rows = (*boxes.shape[:2], len(anchors), 4)
        distances = DistanceCodec().encode(boxes[:, :, None].expand(rows), anchors.expand(rows))
        return (distances.amin(-1) > 0) & (distances.amax(-1) <= self.reach)

    def _unit(self, sides: Float[Tensor, "*rows 2"]) -> tuple[Tensor | float, Tensor | float]:
        return self.unit if self.unit is not None else (sides[..., 0], sides[..., 1])
