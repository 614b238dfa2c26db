"""Box codecs: from what a head regresses to boxes in pixels, and back."""

import math
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

# Largest log-scale a decoded side may have, so that exp cannot overflow: where both libraries clamp by default.
_LOG_SCALE_CLAMP = math.log(1000.0 / 16)

DISTANCES = ("distance_left", "distance_top", "distance_right", "distance_bottom")
"""Parts of codes that give the distances of the four sides from a point."""


@runtime_checkable
class BoxCodec(Protocol):
    """Converts raw regression rows to boxes, relative to reference boxes, and back; both ways are differentiable."""

    @property
    def parts(self) -> tuple[str, str, str, str]:
        """Names of the four numbers that the head regresses, in order; none may be "left", "top", "right", "bottom"."""
        ...

    def decode(self, deltas: Float[Tensor, "*rows 4"], anchors: Float[Tensor, "*rows 4"]) -> Float[Tensor, "*rows 4"]:
        """Return boxes XYXY in pixels, not clipped to the image."""
        ...

    def encode(self, boxes: Float[Tensor, "*rows 4"], anchors: Float[Tensor, "*rows 4"]) -> Float[Tensor, "*rows 4"]:
        """Return the deltas that decode to `boxes`."""
        ...

    def expresses(
        self, boxes: Float[Tensor, "batch object 4"], anchors: Float[Tensor, "anchor 4"]
    ) -> Bool[Tensor, "batch object anchor"]:
        """Return which anchors can be decoded to which boxes at all, whatever the deltas."""
        ...


@dataclass(frozen=True)
class DeltaCodec:
    """(dx, dy, dw, dh) of R-CNN and RetinaNet: shifts in anchor sides, logarithms of the scale factors.

    Args:
        weights: divisors of the four deltas: (1, 1, 1, 1) for RPN and RetinaNet, (10, 10, 5, 5) for RoI heads. Both
            shifts share one, and so do both scales.
        scale_clamp: largest logarithm of a scale factor; larger ones are clamped to it when decoding.

    Raises:
        ValueError: when the shifts' or the scales' weights differ.

    Source: Girshick et al. 2014, appendix C.
    """

    parts: ClassVar = ("dx", "dy", "dw", "dh")
    weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    scale_clamp: float = _LOG_SCALE_CLAMP

    def __post_init__(self) -> None:
        if self.weights[0] != self.weights[1] or self.weights[2] != self.weights[3]:
            raise ValueError(f"both shifts must share a weight, and both scales; got {self.weights}")

    def decode(self, deltas: Float[Tensor, "*rows 4"], anchors: Float[Tensor, "*rows 4"]) -> Float[Tensor, "*rows 4"]:
        sides = anchors[..., 2:] - anchors[..., :2]
        centres = anchors[..., :2] + 0.5 * sides
        shift = deltas[..., :2] / self.weights[0]
        scale = (deltas[..., 2:] / self.weights[2]).clamp(max=self.scale_clamp)
        centres = centres + shift * sides
        half = 0.5 * torch.exp(scale) * sides
        return torch.cat([centres - half, centres + half], dim=-1)

    def encode(self, boxes: Float[Tensor, "*rows 4"], anchors: Float[Tensor, "*rows 4"]) -> Float[Tensor, "*rows 4"]:
        sides, wanted = anchors[..., 2:] - anchors[..., :2], boxes[..., 2:] - boxes[..., :2]
        centres, goals = anchors[..., :2] + 0.5 * sides, boxes[..., :2] + 0.5 * wanted
        shift, scale = (goals - centres) / sides, torch.log(wanted / sides)
        return torch.cat([shift * self.weights[0], scale * self.weights[2]], dim=-1)

    def expresses(
        self, boxes: Float[Tensor, "batch object 4"], anchors: Float[Tensor, "anchor 4"]
    ) -> Bool[Tensor, "batch object anchor"]:
        return torch.ones(*boxes.shape[:2], len(anchors), dtype=torch.bool, device=boxes.device)


@dataclass(frozen=True)
class DistanceCodec:
    """(left, top, right, bottom) of FCOS: distances from the anchor's centre, in units of its sides.

    Takes the head's output before its final ReLU. Decoding applies the ReLU but passes the gradient straight through,
    because a negative distance would otherwise have no gradient and could never recover.
    """

    parts: ClassVar = DISTANCES

    def decode(self, deltas: Float[Tensor, "*rows 4"], anchors: Float[Tensor, "*rows 4"]) -> Float[Tensor, "*rows 4"]:
        sides = anchors[..., 2:] - anchors[..., :2]
        centres = anchors[..., :2] + 0.5 * sides
        distances = deltas - deltas.detach().clamp(max=0)
        return torch.cat([centres - distances[..., :2] * sides, centres + distances[..., 2:] * sides], dim=-1)

    def encode(self, boxes: Float[Tensor, "*rows 4"], anchors: Float[Tensor, "*rows 4"]) -> Float[Tensor, "*rows 4"]:
        sides = anchors[..., 2:] - anchors[..., :2]
        centres = anchors[..., :2] + 0.5 * sides
        return torch.cat([(centres - boxes[..., :2]) / sides, (boxes[..., 2:] - centres) / sides], dim=-1)

    def expresses(
        self, boxes: Float[Tensor, "batch object 4"], anchors: Float[Tensor, "anchor 4"]
    ) -> Bool[Tensor, "batch object anchor"]:
        centres = (anchors[:, :2] + anchors[:, 2:]) / 2
        corners = boxes[:, :, None]
        return ((centres > corners[..., :2]) & (centres < corners[..., 2:])).all(-1)
