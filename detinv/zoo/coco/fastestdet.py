"""FastestDet: a narrow ShuffleNetV2, stacks of depthwise convolutions, and one head at stride 16.

The network of docs/fastestdet, whose description it follows, with its normalisation folded into the convolutions.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detinv.zoo.coco.layers import ShuffleNet, convolution, depthwise, draw_weights

STRIDE = 16
"""Pixels between two cells of the head."""
DIVISOR = 32
"""The sides of an image must be multiples of it, or the three maps do not fit on one another."""

_WIDTHS = (24, 48, 96, 192)
_CHANNELS = 96
# Random weights: scores lie on both sides of one half, and boxes are a part of the image.
_LAST = {"objectness.2": (2.0, -1.0), "regression.2": (1.0, -1.0), "classes.2": (3.0, 0.0)}


class Pyramid(nn.Module):
    """Stacks of one, two and three depthwise 5 x 5 convolutions, joined and added to what went in."""

    def __init__(self) -> None:
        super().__init__()
        self.entering = nn.Sequential(convolution(sum(_WIDTHS[1:]), _CHANNELS), nn.ReLU())
        self.stacks = nn.ModuleList(
            nn.Sequential(*(layer for _ in range(depth) for layer in (depthwise(_CHANNELS, 5), nn.ReLU())))
            for depth in (1, 2, 3)
        )
        self.joined = convolution(3 * _CHANNELS, _CHANNELS)

    def forward(self, features: Tensor) -> Tensor:
        features = self.entering(features)
        return F.relu(features + self.joined(torch.cat([stack(features) for stack in self.stacks], dim=1)))


class FastestDet(nn.Module):
    """Images to objectness, box and class scores of every cell of stride 16; built with random weights.

    Args:
        num_classes: columns of the class scores.
    """

    def __init__(self, num_classes: int = 80) -> None:
        super().__init__()
        self.backbone = ShuffleNet(_WIDTHS, nn.ReLU(), alternate=True)
        self.neck = Pyramid()
        self.head = nn.Sequential(convolution(_CHANNELS, _CHANNELS), nn.ReLU())
        self.objectness = _branch(1)
        self.regression = _branch(4)
        self.classes = _branch(num_classes)
        draw_weights(self, _LAST, 0.0, 1.0)

    def logits(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return raw outputs, each (images, columns, rows of cells, columns of cells).

        Args:
            inputs: BGR in [0, 1], sides multiples of 32.

        Returns:
            objectness before its sigmoid (1 column), regression (4), classes before their softmax.
        """
        fine, middle, coarse = self.backbone(inputs)
        coarse = F.interpolate(coarse, scale_factor=2.0, mode="nearest")
        features = self.head(self.neck(torch.cat([F.avg_pool2d(fine, 3, 2, 1), middle, coarse], dim=1)))
        return self.objectness(features), self.regression(features), self.classes(features)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return what the published network does: objectness (1), regression (4), class probabilities as columns."""
        objectness, regression, classes = self.logits(inputs)
        return torch.cat([objectness.sigmoid(), regression, classes.softmax(1)], dim=1)


def _branch(outputs: int) -> nn.Sequential:
    return nn.Sequential(depthwise(_CHANNELS, 5), nn.ReLU(), convolution(_CHANNELS, outputs))
