"""A small detector with a head like those of YOLOv3 to YOLOv7, written as a user would write it."""

import torch
from torch import Tensor, nn
from torchvision.ops import batched_nms

from detinv.detectors.base import AbstractDetector
from detinv.detectors.canvas import on_canvas
from detinv.detectors.heads.anchors import flatten_rows
from detinv.detectors.heads.grid import GridHeads
from detinv.detectors.heads.predictions import DenseHead, DensePredictions, PostProcessing, Predictions
from detinv.detectors.heads.priors import PriorAssigner, PriorCodec, prior_rows
from detinv.detectors.heads.scoring import Scoring
from detinv.layouts.layout import Detections
from detinv.zoo.backbone import PYRAMID_CHANNELS, TinyPyramid

STRIDES = (8, 16, 32)
PRIORS = (((10, 13), (16, 30)), ((30, 61), (62, 45)), ((59, 119), (116, 90)))
KINDS = {
    "v3": (PriorCodec(STRIDES, PRIORS), "best", None),
    "v4": (PriorCodec(STRIDES, PRIORS, reach=0.05), "best", 0.213),
    "v5": (PriorCodec(STRIDES, PRIORS, reach=0.5, sizes="squared"), "ratio", None),
}


class TinyYOLO(AbstractDetector):
    """Two priors in each cell of three levels, an objectness, and a sigmoid for each class."""

    def __init__(self, kind="v5", num_classes=3, image_size=(96, 128), seed=0):
        super().__init__()
        self.codec, self.rule, self.iou_thresh = KINDS[kind]
        self.class_names = tuple(f"class{number}" for number in range(num_classes))
        self.image_size, self.size_divisor, self.detections_per_image = image_size, 32, 60
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.backbone = TinyPyramid(STRIDES)
            self.backbone.train()(torch.randn(8, 3, *image_size))
            self.outputs = nn.ModuleList(nn.Conv2d(PYRAMID_CHANNELS, 2 * (5 + num_classes), 1) for _ in STRIDES)
            for layer in self.outputs:
                nn.init.normal_(layer.weight, std=0.3)
                nn.init.zeros_(layer.bias)
        self.register_buffer("pixel_mean", torch.full((3,), 0.5))
        self._heads = GridHeads(STRIDES, self._make_head)
        self.freeze()

    def _make_head(self, cells, level_sizes, canvas):
        anchors, sizes = prior_rows(cells, level_sizes, PRIORS)
        post = PostProcessing(0.01, 0.6, len(anchors) * len(self.class_names), 60, topk_per="image", clip="never")
        assigner = PriorAssigner(self.codec, self.rule, self.iou_thresh)
        return DenseHead(anchors, sizes, self.codec, assigner, post, Scoring(quality_power=1.0, objectness=True))

    def network_size(self, image_size):
        return self.image_size

    def _maps(self, pixels: Tensor) -> list[Tensor]:
        with torch.autocast(pixels.device.type, enabled=False):
            levels = self.backbone((pixels.float() - 0.5) / 0.25).values()
            return [layer(level) for layer, level in zip(self.outputs, levels, strict=True)]

    def forward(self, pixels, image_sizes=None, regions=None):
        rows = flatten_rows(self._maps(pixels), 5 + len(self.class_names))
        head = self._heads.at(pixels)
        return Predictions(DensePredictions(rows[..., 5:], rows[..., :4], head, quality_logits=rows[..., 4]))

    def detect(self, images):
        with torch.no_grad():
            return [self._infer(image) for image in images]

    def _infer(self, image):
        boxes, scores = [], []
        pixels = on_canvas(self, [self.network_image(image)])
        for level, (found, stride) in enumerate(zip(self._maps(pixels), STRIDES, strict=True)):
            found = found[0].double().unflatten(0, (2, -1))
            for prior, (w, h) in zip(found, PRIORS[level], strict=True):
                rows, columns = prior.shape[1:]
                column, row = torch.arange(columns), torch.arange(rows)[:, None]
                grow = 1 + 2 * self.codec.reach
                x = (prior[0].sigmoid() * grow - self.codec.reach + column) * stride
                y = (prior[1].sigmoid() * grow - self.codec.reach + row) * stride
                squared = self.codec.sizes == "squared"
                wide, high = ((2 * d.sigmoid()) ** 2 if squared else d.exp() for d in prior[2:4])
                box = torch.stack([x - w * wide / 2, y - h * high / 2, x + w * wide / 2, y + h * high / 2], -1)
                boxes.append(box.flatten(0, 1))
                scores.append((prior[4].sigmoid() * prior[5:].sigmoid()).flatten(1).T)
        boxes, scores = torch.cat(boxes).float(), torch.cat(scores).float()
        rows, labels = (scores > 0.01).nonzero(as_tuple=True)
        keep = batched_nms(boxes[rows], scores[rows, labels], labels, 0.6)[:60]
        size = (image.shape[1], image.shape[2])
        found = self.boxes_in_image(boxes[rows[keep]], self.image_size, size)
        return Detections(found, scores[rows, labels][keep], labels[keep], size)
