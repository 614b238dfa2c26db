"""A detector whose weights are set by hand, so that what it depends on is known exactly."""

import torch
from torch import nn

from detinv.detectors.base import AbstractDetector
from detinv.detectors.canvas import on_canvas
from detinv.detectors.feature_layers import FeatureLayer
from detinv.detectors.heads.codec import DistanceCodec
from detinv.detectors.heads.postprocess import postprocess
from detinv.detectors.heads.predictions import DenseHead, DensePredictions, PostProcessing, Predictions

SIDE = 64
# Regions in pixels, XYXY: multiples of 8, as the cells of the last layer are.
EVIDENCE = {
    "class": (32, 16, 48, 24),
    "other class": (0, 48, 16, 64),
    "left": (8, 24, 16, 40),
    "top": (24, 8, 40, 16),
    "right": (48, 24, 56, 40),
    "bottom": (24, 48, 40, 56),
}
BOX = (12.0, 12.0, 52.0, 52.0)


class HandSetDetector(AbstractDetector):
    """Three convolutions without overlap, then one row whose outputs each read one region of the last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.class_names = ("one", "two")
        self.size_divisor, self.detections_per_image = 8, 4
        self.register_buffer("pixel_mean", torch.zeros(3))
        widths = (3, 4, 4, 4)
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 2, 2), nn.ReLU()) for a, b in zip(widths, widths[1:], strict=False)
        )
        generator = torch.Generator().manual_seed(0)
        for stage in self.stages:
            stage[0].weight.data = torch.rand(stage[0].weight.shape, generator=generator) * 0.2
            nn.init.zeros_(stage[0].bias)
        self.head = nn.Linear(4 * 8 * 8, 6)
        nn.init.zeros_(self.head.weight)
        self.head.bias.data = torch.tensor([-1.0, -6.0, 0.1, 0.1, 0.1, 0.1])
        for row, (x0, y0, x1, y1) in enumerate(EVIDENCE.values()):
            cells = self.head.weight.data[row].view(4, 8, 8)
            cells[:, y0 // 8 : y1 // 8, x0 // 8 : x1 // 8] = (0.4, 0.2, 0.02, 0.02, 0.02, 0.02)[row]
        self.freeze()

    def network_size(self, image_size):
        return SIDE, SIDE

    def feature_layers(self):
        numbers = range(len(self.stages))
        return tuple(FeatureLayer(f"c{number + 1}", f"stages.{number}", 2 ** (number + 1), 4) for number in numbers)

    def level_layers(self, head="dense"):
        return super().level_layers(head) if head != "dense" else self.feature_layers()[-1:]

    def forward(self, pixels, image_sizes=None, regions=None):
        features = pixels
        for stage in self.stages:
            features = stage(features)
        found = self.head(features.flatten(1))
        anchors = torch.tensor([[2.0, 2.0, 62.0, 62.0]])
        post = PostProcessing(0.05, 0.5, 10, 4)
        head = DenseHead(anchors, (1,), DistanceCodec(), None, post)
        return Predictions(DensePredictions(found[:, None, :2], found[:, None, 2:], head))

    def detect(self, images):
        sizes = [(SIDE, SIDE)] * len(images)
        with torch.no_grad():
            return postprocess(self(on_canvas(self, [self.network_image(image) for image in images])), sizes)
