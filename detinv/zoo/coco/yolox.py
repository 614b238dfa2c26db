"""YOLOX-Nano: CSPDarknet with a path aggregation network at a quarter of the width, and a decoupled head.

Written from the paper (Ge et al. 2021, "YOLOX") and the published graph. Modules are registered in the order in which
they run, which is the order of the graph's convolutions. The graph joins four slices of the image before a 3 x 3
convolution; here one 6 x 6 convolution of stride 2 reads the same pixels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detinv.zoo.coco.layers import convolution, depthwise, draw_weights

STRIDES = (8, 16, 32)
_WIDTHS = (16, 32, 64, 128, 256)
_HEAD = 64
_POOLS = (5, 9, 13)
# Random weights: a tenth of the cells or so has a score above the threshold, and boxes are a few cells large.
_LAST = {"classes": (2.0, -3.0), "objectness": (2.0, -3.0), "regression": (0.5, 0.5)}


class Block(nn.Sequential):
    """A convolution and its SiLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1) -> None:
        super().__init__(convolution(inputs, outputs, kernel), nn.SiLU())


class Separable(nn.Sequential):
    """A 3 x 3 convolution of single channels, then one of single cells, each with its SiLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(depthwise(inputs, stride=stride), nn.SiLU(), *Block(inputs, outputs))


class Bottleneck(nn.Module):
    """Two convolutions, added to what went in where there is a shortcut."""

    def __init__(self, channels: int, shortcut: bool) -> None:
        super().__init__()
        self.layers = nn.Sequential(*Block(channels, channels), *Separable(channels, channels))
        self.shortcut = shortcut

    def forward(self, features: Tensor) -> Tensor:
        found = self.layers(features)
        return found + features if self.shortcut else found


class CrossStage(nn.Module):
    """Half of the channels pass through bottlenecks, the other half past them.

    Source: Wang et al. 2020, "CSPNet".
    """

    def __init__(self, inputs: int, outputs: int, count: int = 1, shortcut: bool = False) -> None:
        super().__init__()
        half = outputs // 2
        self.entering = Block(inputs, half)
        self.passing = Block(inputs, half)
        self.bottlenecks = nn.Sequential(*(Bottleneck(half, shortcut) for _ in range(count)))
        self.joined = Block(outputs, outputs)

    def forward(self, features: Tensor) -> Tensor:
        passing = self.passing(features)
        return self.joined(torch.cat([self.bottlenecks(self.entering(features)), passing], dim=1))


class Pooling(nn.Module):
    """Maxima over windows of three sizes beside the cell itself, so that a cell knows of its wider surroundings."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.entering = Block(channels, channels // 2)
        self.joined = Block(channels // 2 * (1 + len(_POOLS)), channels)

    def forward(self, features: Tensor) -> Tensor:
        features = self.entering(features)
        pooled = [F.max_pool2d(features, side, 1, side // 2) for side in _POOLS]
        return self.joined(torch.cat([features, *pooled], dim=1))


class Backbone(nn.Module):
    """Maps of strides 8, 16 and 32 with 64, 128 and 256 channels."""

    def __init__(self) -> None:
        super().__init__()
        stem, c2, c3, c4, c5 = _WIDTHS
        self.stem = nn.Sequential(nn.Conv2d(3, stem, 6, 2, 2), nn.SiLU())
        self.stage2 = nn.Sequential(Separable(stem, c2, 2), CrossStage(c2, c2, 1, shortcut=True))
        self.stage3 = nn.Sequential(Separable(c2, c3, 2), CrossStage(c3, c3, 3, shortcut=True))
        self.stage4 = nn.Sequential(Separable(c3, c4, 2), CrossStage(c4, c4, 3, shortcut=True))
        self.stage5 = nn.Sequential(Separable(c4, c5, 2), Pooling(c5), CrossStage(c5, c5))

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fine = self.stage3(self.stage2(self.stem(inputs)))
        middle = self.stage4(fine)
        return fine, middle, self.stage5(middle)


class Neck(nn.Module):
    """What is coarse informs what is fine, and then the other way round; channels stay as they are."""

    def __init__(self) -> None:
        super().__init__()
        c3, c4, c5 = _WIDTHS[2:]
        self.reduce5 = Block(c5, c4)
        self.down4 = CrossStage(2 * c4, c4)
        self.reduce4 = Block(c4, c3)
        self.down3 = CrossStage(2 * c3, c3)
        self.step4 = Separable(c3, c3, 2)
        self.up4 = CrossStage(2 * c3, c4)
        self.step5 = Separable(c4, c4, 2)
        self.up5 = CrossStage(2 * c4, c5)

    def forward(self, fine: Tensor, middle: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        coarse = self.reduce5(coarse)
        middle = self.reduce4(self.down4(torch.cat([_doubled(coarse), middle], dim=1)))
        fine = self.down3(torch.cat([_doubled(middle), fine], dim=1))
        middle = self.up4(torch.cat([self.step4(fine), middle], dim=1))
        return fine, middle, self.up5(torch.cat([self.step5(middle), coarse], dim=1))


class Head(nn.Module):
    """Box, objectness and classes of the cells of one level."""

    def __init__(self, inputs: int, num_classes: int) -> None:
        super().__init__()
        self.stem = Block(inputs, _HEAD)
        self.class_branch = nn.Sequential(Separable(_HEAD, _HEAD), Separable(_HEAD, _HEAD))
        self.classes = convolution(_HEAD, num_classes)
        self.box_branch = nn.Sequential(Separable(_HEAD, _HEAD), Separable(_HEAD, _HEAD))
        self.regression = convolution(_HEAD, 4)
        self.objectness = convolution(_HEAD, 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features = self.stem(features)
        box = self.box_branch(features)
        return self.regression(box), self.objectness(box), self.classes(self.class_branch(features))


class YOLOXNano(nn.Module):
    """Images to box, objectness and classes of every cell; built with random weights.

    Args:
        num_classes: columns of the class scores.
    """

    def __init__(self, num_classes: int = 80) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.neck = Neck()
        self.heads = nn.ModuleList(Head(width, num_classes) for width in _WIDTHS[2:])
        draw_weights(self, _LAST, 0.0, 255.0)

    def logits(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return raw outputs, each (images, cells of all levels, columns), finest level first, row by row.

        Args:
            inputs: BGR, 0 to 255, sides multiples of 32.

        Returns:
            regression (4 columns), objectness before its sigmoid (1), classes before their sigmoids.
        """
        levels = zip(self.heads, self.neck(*self.backbone(inputs)), strict=True)
        found = [head(features) for head, features in levels]
        regression, objectness, classes = (
            torch.cat([one.flatten(2) for one in maps], dim=2).transpose(1, 2) for maps in zip(*found, strict=True)
        )
        return regression, objectness, classes

    def forward(self, inputs: Tensor) -> Tensor:
        """Return what the published graph does: regression (4), objectness (1) and class probabilities as columns."""
        regression, objectness, classes = self.logits(inputs)
        return torch.cat([regression, objectness.sigmoid(), classes.sigmoid()], dim=2)


def _doubled(features: Tensor) -> Tensor:
    return F.interpolate(features, scale_factor=2.0, mode="nearest")
