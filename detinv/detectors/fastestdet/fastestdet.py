"""The adapter of FastestDet: raw predictions with gradient to the pixels, and the published inference."""

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torchvision.ops import batched_nms

from detinv.detectors.base import AbstractDetector
from detinv.detectors.canvas import check_canvas
from detinv.detectors.fastestdet.cells import CellAssigner, CellCodec
from detinv.detectors.feature_layers import FeatureLayer
from detinv.detectors.heads.grid import GridHeads, around_corner
from detinv.detectors.heads.predictions import DenseHead, DensePredictions, PostProcessing, Predictions
from detinv.detectors.heads.scoring import Scoring
from detinv.detectors.probing import ModuleOutput, backbone_stages, find_outputs, neck_levels
from detinv.detectors.regions import Regions
from detinv.detectors.resize import interpolated_8bit
from detinv.errors import DetectorError
from detinv.inputs.ranges import check_range
from detinv.layouts.layout import Detections
from detinv.types import Pixels
from detinv.zoo.coco.fastestdet import DIVISOR, STRIDE, FastestDet

_CLASS_POWER, _OBJECTNESS_POWER = 0.4, 0.6


class FastestDetDetector(AbstractDetector):
    """One dense head with one row per cell: an objectness, and a softmax over the classes.

    Args:
        network: with its weights; it will be frozen.
        class_names: of its class columns.
        image_size: (height, width) to which every image is stretched, multiples of 32.
        score_thresh: cells with a score at or below it are dropped.
        nms_thresh: IoU above which the lower-scored of two boxes of one class is dropped.

    Raises:
        DetectorError: when the size does not fit the network.
        ConfigError: for another number out of its range.
    """

    def __init__(
        self,
        network: FastestDet,
        class_names: Sequence[str],
        image_size: Sequence[int] = (352, 352),
        score_thresh: float = 0.001,
        nms_thresh: float = 0.45,
    ) -> None:
        super().__init__()
        height, width = image_size
        if min(height, width) < DIVISOR or height % DIVISOR or width % DIVISOR:
            raise DetectorError(f"image_size=[{height},{width}]: both sides must be multiples of {DIVISOR}")
        self.network = network
        self.class_names = tuple(class_names)
        self.image_size = (height, width)
        self.score_thresh = score_thresh
        self.nms_thresh = nms_thresh
        check_range(self, "score_thresh nms_thresh", most=1)
        self.size_divisor = DIVISOR
        # One cell, one detection.
        self.detections_per_image = (height // STRIDE) * (width // STRIDE)
        # Nothing is subtracted and nothing is padded; inversions start around the middle of the scale.
        self.register_buffer("pixel_mean", torch.full((3,), 0.5), persistent=False)
        self._heads = GridHeads((STRIDE,), self._make_head)
        self.freeze()

    def _make_head(self, cells: Tensor, level_sizes: tuple[int, ...], canvas: tuple[int, int]) -> DenseHead:
        post = PostProcessing(
            self.score_thresh,
            self.nms_thresh,
            topk_candidates=len(cells),
            detections_per_image=len(cells),
            best_class_only=True,
            clip="never",
        )
        scoring = Scoring("softmax", False, _CLASS_POWER, _OBJECTNESS_POWER, objectness=True)
        return DenseHead(around_corner(cells), level_sizes, CellCodec(*canvas), CellAssigner(), post, scoring)

    def network_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Return always the same: every image is stretched to one size."""
        return self.image_size

    def network_image(self, image: UInt8[Tensor, "3 height width"]) -> Float[Tensor, "3 _ _"]:
        """Return an 8-bit image in [0, 1], stretched as OpenCV does."""
        return interpolated_8bit(image.to(self.device), self.image_size).float() / 255

    def forward(
        self,
        pixels: Pixels,
        image_sizes: Sequence[tuple[int, int]] | None = None,
        regions: Regions | None = None,
    ) -> Predictions:
        """Return raw predictions; a one-stage detector needs neither `image_sizes` nor `regions`."""
        check_canvas(pixels, DIVISOR)
        # Always in float32: bfloat16 moves the outputs of so narrow a network by a tenth of their spread.
        with torch.autocast(pixels.device.type, enabled=False):
            # The network learnt from images in OpenCV's order: blue, green, red.
            objectness, regression, classes = map(_rows, self.network.logits(pixels.float().flip(1)))
        head = self._heads.at(pixels)
        return Predictions(DensePredictions(classes, regression, head, quality_logits=objectness[..., 0]))

    def _find_layers(self, outputs: Sequence[ModuleOutput], predictions: Predictions) -> Iterable[FeatureLayer]:
        """Stages of the backbone, then the map that the head receives."""
        levels = neck_levels(find_outputs(outputs, "network.neck"))
        return [*backbone_stages(outputs, ["network.backbone"]), *levels]

    def detect(self, images: Sequence[UInt8[Tensor, "3 _height _width"]]) -> list[Detections]:
        """Run the published evaluation on 8-bit RGB images, in fp32, one at a time."""
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            return [self._infer(image) for image in images]

    def _infer(self, image: UInt8[Tensor, "3 height width"]) -> Detections:
        """Stretch, run the network, decode, keep the best class of each cell, suppress, scale back."""
        size = (image.shape[1], image.shape[2])
        (output,) = self.network(self.network_image(image)[None].flip(1))
        objectness, regression, classes = output[0], output[1:5], output[5:]
        best, labels = classes.max(0)
        scores = objectness**_OBJECTNESS_POWER * best**_CLASS_POWER

        rows, columns = objectness.shape
        x = (regression[0].tanh() + torch.arange(columns, device=output.device)) * STRIDE
        y = (regression[1].tanh() + torch.arange(rows, device=output.device)[:, None]) * STRIDE
        half_width = regression[2].sigmoid() * self.image_size[1] / 2
        half_height = regression[3].sigmoid() * self.image_size[0] / 2
        boxes = torch.stack([x - half_width, y - half_height, x + half_width, y + half_height], dim=-1)

        live = scores > self.score_thresh
        boxes, scores, labels = boxes[live], scores[live], labels[live]
        keep = batched_nms(boxes, scores, labels, self.nms_thresh)
        scaled = self.boxes_in_image(boxes[keep], self.image_size, size)
        return Detections(scaled.cpu(), scores[keep].cpu(), labels[keep].cpu(), size)


def _rows(maps: Float[Tensor, "batch column _ _"]) -> Float[Tensor, "batch cell column"]:
    """Flatten maps to rows."""
    return maps.flatten(2).transpose(1, 2)
