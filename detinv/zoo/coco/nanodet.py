"""NanoDet-m: ShuffleNetV2, a path aggregation network without convolutions, and one light head for each level.

Written from the published graph (https://github.com/RangiLyu/nanodet). Modules are registered in the order in which
they run, which is the order of the graph's convolutions.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detinv.zoo.coco.layers import ShuffleNet, convolution, depthwise, draw_weights

STRIDES = (8, 16, 32)
BINS = 8
"""Bins of the distribution of each distance."""

_WIDTHS = (24, 116, 232, 464)
_CHANNELS = 96
_SLOPE = 0.1
# Random weights: a few scores are above the threshold, and boxes are a few cells large.
_LAST = {"predict": (1.0, -4.0)}


class Neck(nn.Module):
    """Maps of all levels in as many channels; what is coarse is added to what is fine, then the other way round."""

    def __init__(self) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(convolution(width, _CHANNELS) for width in _WIDTHS[1:])

    def forward(self, features: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        fine, middle, coarse = (layer(maps) for layer, maps in zip(self.lateral, features, strict=True))
        middle = middle + _scaled(coarse, 2.0)
        fine = fine + _scaled(middle, 2.0)
        middle = middle + _scaled(fine, 0.5)
        return fine, middle, coarse + _scaled(middle, 0.5)


class Head(nn.Module):
    """Classes and distances of the cells of one level."""

    def __init__(self, num_classes: int, activation: nn.Module) -> None:
        super().__init__()
        pair = [(depthwise(_CHANNELS), activation, convolution(_CHANNELS, _CHANNELS), activation) for _ in range(2)]
        self.layers = nn.Sequential(*(layer for layers in pair for layer in layers))
        self.predict = convolution(_CHANNELS, num_classes + 4 * BINS)

    def forward(self, features: Tensor) -> Tensor:
        return self.predict(self.layers(features))


class NanoDet(nn.Module):
    """Images to classes and distances of every cell; built with random weights.

    Args:
        num_classes: columns of the class scores.
    """

    def __init__(self, num_classes: int = 80) -> None:
        super().__init__()
        activation = nn.LeakyReLU(_SLOPE)
        self.num_classes = num_classes
        self.backbone = ShuffleNet(_WIDTHS, activation, alternate=False)
        self.neck = Neck()
        self.heads = nn.ModuleList(Head(num_classes, activation) for _ in STRIDES)
        draw_weights(self, _LAST, -2.0, 2.0)

    def logits(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return raw outputs, each (images, cells of all levels, columns), finest level first, row by row.

        Args:
            inputs: BGR, normalised, sides multiples of 32.

        Returns:
            classes before their sigmoids, and the logits of the bins of the left, upper, right and lower distance.
        """
        levels = zip(self.heads, self.neck(self.backbone(inputs)), strict=True)
        rows = torch.cat([head(features).flatten(2) for head, features in levels], dim=2).transpose(1, 2)
        return rows[..., : self.num_classes], rows[..., self.num_classes :]

    def forward(self, inputs: Tensor) -> Tensor:
        """Return what the published graph does, as columns: class probabilities, and the logits of all bins."""
        classes, bins = self.logits(inputs)
        return torch.cat([classes.sigmoid(), bins], dim=2)


def _scaled(features: Tensor, factor: float) -> Tensor:
    return F.interpolate(features, scale_factor=factor, mode="bilinear", align_corners=False)
