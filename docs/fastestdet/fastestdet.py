"""FastestDet, an anchor-free detector of 0.24 million parameters: the network alone, as its authors' weights need it.

Written from the description of https://github.com/dog-qiuqiu/FastestDet (BSD 3-Clause, copyright 2022 xuehao.ma).
A ShuffleNetV2 computes maps of strides 8, 16 and 32; they are brought to stride 16 and joined; stacks of wide depthwise
convolutions enlarge the receptive field; one head predicts for each cell how likely an object is, its box and its
class. The modules are named such that their keys are those of the published state dict.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STRIDE = 16
"""Pixels between two cells of the head."""
DIVISOR = 32
"""The sides of an image must be multiples of it, or the three maps do not fit on one another."""

_REPEATS = (4, 8, 4)
_CHANNELS = (24, 48, 96, 192)


def _convolution(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, relu: bool = True) -> list[nn.Module]:
    """Convolution, normalisation and ReLU; a kernel wider than 1 is depthwise, as everywhere but in the first layer."""
    groups = 1 if kernel == 1 else inputs
    layers = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return [*layers, nn.ReLU()] if relu else layers


class Unit(nn.Module):
    """ShuffleNetV2's unit. With stride 1, every second channel passes through untouched, which is the shuffle."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        middle = outputs // 2
        entering = inputs if stride == 2 else inputs // 2
        passing = entering
        self.branch_main = nn.Sequential(
            *_convolution(entering, middle),
            *_convolution(middle, middle, 3, stride, relu=False),
            *_convolution(middle, outputs - passing),
        )
        if stride == 2:
            self.branch_proj = nn.Sequential(
                *_convolution(inputs, inputs, 3, stride, relu=False), *_convolution(inputs, passing)
            )
        self.stride = stride

    def forward(self, features: Tensor) -> Tensor:
        if self.stride == 2:
            return torch.cat([self.branch_proj(features), self.branch_main(features)], dim=1)
        return torch.cat([features[:, 0::2], self.branch_main(features[:, 1::2])], dim=1)


class Backbone(nn.Module):
    """Maps of strides 8, 16 and 32 with 48, 96 and 192 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.first_conv = nn.Sequential(
            nn.Conv2d(3, _CHANNELS[0], 3, 2, 1, bias=False), nn.BatchNorm2d(_CHANNELS[0]), nn.ReLU()
        )
        stages = []
        for repeats, inputs, outputs in zip(_REPEATS, _CHANNELS, _CHANNELS[1:], strict=False):
            units = [Unit(inputs, outputs, 2), *(Unit(outputs, outputs, 1) for _ in range(repeats - 1))]
            stages.append(nn.Sequential(*units))
        self.stage2, self.stage3, self.stage4 = stages

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fine = self.stage2(F.max_pool2d(self.first_conv(inputs), 3, 2, 1))
        middle = self.stage3(fine)
        return fine, middle, self.stage4(middle)


class Pointwise(nn.Module):
    """A convolution of single cells."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1x1 = nn.Sequential(*_convolution(inputs, outputs))

    def forward(self, features: Tensor) -> Tensor:
        return self.conv1x1(features)


class Pyramid(nn.Module):
    """Stacks of one, two and three depthwise 5 x 5 convolutions, joined and added to what went in."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.Conv1x1 = Pointwise(inputs, outputs)
        self.S1, self.S2, self.S3 = (
            nn.Sequential(*(layer for _ in range(depth) for layer in _convolution(outputs, outputs, 5)))
            for depth in (1, 2, 3)
        )
        self.output = nn.Sequential(*_convolution(3 * outputs, outputs, relu=False))

    def forward(self, features: Tensor) -> Tensor:
        features = self.Conv1x1(features)
        stacks = [self.S1(features), self.S2(features), self.S3(features)]
        return F.relu(features + self.output(torch.cat(stacks, dim=1)))


class Branch(nn.Module):
    """One of the head's three outputs; its last normalisation has no ReLU behind it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv5x5 = nn.Sequential(*_convolution(inputs, inputs, 5), *_convolution(inputs, outputs, relu=False))

    def forward(self, features: Tensor) -> Tensor:
        return self.conv5x5(features)


class Head(nn.Module):
    """Objectness, box and class of every cell."""

    def __init__(self, inputs: int, num_classes: int) -> None:
        super().__init__()
        self.conv1x1 = Pointwise(inputs, inputs)
        self.obj_layers = Branch(inputs, 1)
        self.reg_layers = Branch(inputs, 4)
        self.cls_layers = Branch(inputs, num_classes)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features = self.conv1x1(features)
        return self.obj_layers(features), self.reg_layers(features), self.cls_layers(features)


class FastestDet(nn.Module):
    """Images to objectness, box and class scores of every cell of stride 16.

    Args:
        num_classes: columns of the class scores.
    """

    def __init__(self, num_classes: int = 80) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.SPP = Pyramid(sum(_CHANNELS[1:]), _CHANNELS[2])
        self.detect_head = Head(_CHANNELS[2], num_classes)

    def logits(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Raw outputs, each (images, columns, rows of cells, columns of cells).

        Args:
            inputs: BGR in [0, 1], sides multiples of 32.

        Returns:
            objectness before its sigmoid (1 column), regression (4), classes before their softmax.
        """
        fine, middle, coarse = self.backbone(inputs)
        coarse = F.interpolate(coarse, scale_factor=2.0, mode="nearest")
        return self.detect_head(self.SPP(torch.cat([F.avg_pool2d(fine, 3, 2, 1), middle, coarse], dim=1)))

    def forward(self, inputs: Tensor) -> Tensor:
        """What the published network returns: objectness (1), regression (4) and class probabilities as columns."""
        objectness, regression, classes = self.logits(inputs)
        return torch.cat([objectness.sigmoid(), regression, classes.softmax(1)], dim=1)
