"""Where a detector's features are: what an adapter declares about the layers inside its network."""

from dataclasses import dataclass
from typing import Literal

HeadName = Literal["dense", "roi", "encoder"]
"""A part of `Predictions`."""


@dataclass(frozen=True)
class FeatureLayer:
    """One place in the forward pass where features can be captured; see `detinv.detectors.hooks.capture_features`.

    Args:
        name: short and unique within the detector: "c1" to "c5" for stages of the backbone with strides 2 to 32, "p3"
            for the level of stride 8 that the neck hands to the heads, "roi" for what a second stage pools, and so on.
        module: dotted path inside the detector, such as "model.backbone.fpn".
        stride: pixels of the canvas from one cell to the next, rounded. None for features of regions, whose cells
            are as large as the region makes them, and where it is not known.
        channels: how many there are; None where it is not known.
        output: key or number of one of several tensors that the module returns; nested ones are joined by dots. None
            for all of them, which usually is the only one.
        per_region: whether the first axis runs over regions instead of images: all regions of the first image, then
            all of the second, in the order of `RoIPredictions`.
        tokens: whether features are (image, token, channel), row by row, instead of (image, channel, height, width).
    """

    name: str
    module: str
    stride: int | None = None
    channels: int | None = None
    output: str | None = None
    per_region: bool = False
    tokens: bool = False

    @property
    def channel_axis(self) -> int:
        """The axis that runs over channels."""
        return -1 if self.tokens else 1
