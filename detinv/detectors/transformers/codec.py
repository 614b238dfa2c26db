"""Box codec of DETR-type detectors."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class RelativeCodec:
    """(cx, cy, w, h) as fractions of the anchor, which is the whole image for queries of a transformer."""

    parts: ClassVar = ("cx", "cy", "w", "h")

    def decode(self, deltas: Float[Tensor, "*rows 4"], anchors: Float[Tensor, "*rows 4"]) -> Float[Tensor, "*rows 4"]:
        sides = anchors[..., 2:] - anchors[..., :2]
        centres, half = deltas[..., :2], 0.5 * deltas[..., 2:]
        low, high = (centres - half) * sides, (centres + half) * sides
        return torch.cat([anchors[..., :2] + low, anchors[..., :2] + high], dim=-1)

    def encode(self, boxes: Float[Tensor, "*rows 4"], anchors: Float[Tensor, "*rows 4"]) -> Float[Tensor, "*rows 4"]:
        sides = anchors[..., 2:] - anchors[..., :2]
        low, high = (boxes[..., :2] - anchors[..., :2]) / sides, (boxes[..., 2:] - anchors[..., :2]) / sides
        return torch.cat([0.5 * (low + high), high - low], dim=-1)

    def expresses(
        self, boxes: Float[Tensor, "batch object 4"], anchors: Float[Tensor, "anchor 4"]
    ) -> Bool[Tensor, "batch object anchor"]:
        return torch.ones(*boxes.shape[:2], len(anchors), dtype=torch.bool, device=boxes.device)
