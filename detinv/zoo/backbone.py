"""A small residual network with a feature pyramid, for images of 128 to 256 pixels."""

from collections import OrderedDict

from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork

PYRAMID_CHANNELS = 64
_WIDTHS = (24, 32, 64, 96, 96)


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with a shortcut; a `stride` of 2 halves the resolution."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.shortcut = (
            nn.Identity()
            if stride == 1 and in_channels == out_channels
            else nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )
        )
        self.relu = nn.ReLU()

    def forward(self, features: Tensor) -> Tensor:
        out = self.relu(self.norm1(self.conv1(features)))
        return self.relu(self.norm2(self.conv2(out)) + self.shortcut(features))


class TinyPyramid(nn.Module):
    """Backbone for torchvision's detectors: from an image to an ordered dict of feature maps.

    Args:
        strides: of the returned levels, a run of (4, 8, 16, 32).
    """

    out_channels = PYRAMID_CHANNELS

    def __init__(self, strides: tuple[int, ...] = (8, 16, 32)) -> None:
        super().__init__()
        stem, c2, c3, c4, c5 = _WIDTHS
        self.stem = nn.Sequential(nn.Conv2d(3, stem, 3, 2, 1, bias=False), nn.BatchNorm2d(stem), nn.ReLU())
        self.stages = nn.ModuleDict(
            {
                "4": ResidualBlock(stem, c2, 2),
                "8": nn.Sequential(ResidualBlock(c2, c3, 2), ResidualBlock(c3, c3)),
                "16": ResidualBlock(c3, c4, 2),
                "32": ResidualBlock(c4, c5, 2),
            }
        )
        self.strides = strides
        widths = {4: c2, 8: c3, 16: c4, 32: c5}
        self.fpn = FeaturePyramidNetwork([widths[stride] for stride in strides], PYRAMID_CHANNELS)

    def forward(self, images: Tensor) -> "OrderedDict[str, Tensor]":
        features = self.stem(images)
        levels: OrderedDict[str, Tensor] = OrderedDict()
        for stride, stage in self.stages.items():
            features = stage(features)
            if int(stride) in self.strides:
                levels[str(len(levels))] = features
        return self.fpn(levels)
