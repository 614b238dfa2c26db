"""The adapter of NanoDet: raw predictions with gradient to the pixels, and the published inference."""

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torchvision.ops import batched_nms

from detinv.detectors.base import AbstractDetector
from detinv.detectors.canvas import check_canvas
from detinv.detectors.feature_layers import FeatureLayer, HeadName
from detinv.detectors.heads.distances import PointCodec
from detinv.detectors.heads.grid import GridHeads
from detinv.detectors.heads.predictions import DenseHead, DensePredictions, PostProcessing, Predictions
from detinv.detectors.nanodet.atss import ATSSAssigner
from detinv.detectors.probing import ModuleOutput, backbone_stages, find_outputs, neck_levels
from detinv.detectors.regions import Regions
from detinv.detectors.resize import averaged_8bit, check_resize, warped_8bit
from detinv.errors import DetectorError
from detinv.inputs.ranges import check_range
from detinv.layouts.layout import Detections
from detinv.types import Pixels
from detinv.zoo.coco.nanodet import BINS, STRIDES, NanoDet

# Mean and standard deviation of red, green and blue, 0 to 255.
_MEAN, _DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


class NanoDetDetector(AbstractDetector):
    """One dense head with one row per cell, one sigmoid per class, and a distribution for each of four distances.

    Args:
        network: with its weights; it will be frozen.
        class_names: of its class columns.
        image_size: (height, width) to which every image is stretched, multiples of 32.
        score_thresh: classes of a row whose score is at or below it are dropped.
        nms_thresh: IoU above which the lower-scored of two boxes of one class is dropped.
        detections_per_image: most detections of an image.
        resize: see `check_resize`; the published code warps, which leaves the centre of the first pixel where it is.

    Raises:
        DetectorError: when the size does not fit the network.
        ConfigError: for another number out of its range.
    """

    deviation: Tensor
    bin_values: Tensor

    def __init__(
        self,
        network: NanoDet,
        class_names: Sequence[str],
        image_size: Sequence[int] = (416, 416),
        score_thresh: float = 0.05,
        nms_thresh: float = 0.6,
        detections_per_image: int = 100,
        resize: str = "antialiased",
    ) -> None:
        super().__init__()
        divisor = STRIDES[-1]
        height, width = image_size
        if min(height, width) < divisor or height % divisor or width % divisor:
            raise DetectorError(f"image_size=[{height},{width}]: both sides must be multiples of {divisor}")
        self.network = network
        self.class_names = tuple(class_names)
        self.image_size = (height, width)
        self.score_thresh = score_thresh
        self.nms_thresh = nms_thresh
        self.detections_per_image = detections_per_image
        self.resize = resize
        check_resize(resize)
        check_range(self, "score_thresh nms_thresh", most=1)
        check_range(self, "detections_per_image", least=1)
        self.size_divisor = divisor
        self.register_buffer("pixel_mean", torch.tensor(_MEAN) / 255, persistent=False)
        self.register_buffer("deviation", torch.tensor(_DEVIATION) / 255, persistent=False)
        self.register_buffer("bin_values", torch.arange(BINS, dtype=torch.float32), persistent=False)
        self._heads = GridHeads(STRIDES, self._make_head)
        self.freeze()

    def _make_head(self, cells: Tensor, level_sizes: tuple[int, ...], canvas: tuple[int, int]) -> DenseHead:
        post = PostProcessing(
            self.score_thresh,
            self.nms_thresh,
            topk_candidates=len(cells) * len(self.class_names),
            detections_per_image=self.detections_per_image,
            topk_per="image",
            clip="before",
        )
        return DenseHead(cells, level_sizes, PointCodec(reach=BINS - 1.0), ATSSAssigner(), post)

    def network_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Return always the same: every image is stretched to one size."""
        return self.image_size

    def network_image(self, image: UInt8[Tensor, "3 height width"]) -> Float[Tensor, "3 _ _"]:
        """Return an 8-bit image in [0, 1], stretched to one size."""
        resized = averaged_8bit if self.resize == "antialiased" else warped_8bit
        return resized(image.to(self.device), self.image_size).float() / 255

    def forward(
        self,
        pixels: Pixels,
        image_sizes: Sequence[tuple[int, int]] | None = None,
        regions: Regions | None = None,
    ) -> Predictions:
        """Return raw predictions; a one-stage detector needs neither `image_sizes` nor `regions`."""
        check_canvas(pixels, self.size_divisor)
        # Always in float32: bfloat16 moves the outputs of so narrow a network by a tenth of their spread.
        with torch.autocast(pixels.device.type, enabled=False):
            logits, bins = self.network.logits(self._as_published(pixels.float()))
            bins = bins.unflatten(-1, (4, BINS))
            distances = (bins.softmax(-1) * self.bin_values).sum(-1)
        return Predictions(DensePredictions(logits, distances, self._heads.at(pixels), bins=bins))

    def _as_published(self, pixels: Pixels) -> Tensor:
        """Return the network's input: normalised, in OpenCV's order."""
        return ((pixels - self.pixel_mean[:, None, None]) / self.deviation[:, None, None]).flip(1)

    def level_layers(self, head: HeadName = "dense") -> tuple[FeatureLayer, ...]:
        """Return the layer that each level of the head receives, finest first.

        Raises:
            DetectorError: for any head but the dense one.
        """
        if head != "dense":
            raise DetectorError(f"{type(self).__name__} has no head {head!r}")
        return self.feature_layers()[-len(STRIDES) :]

    def _find_layers(self, outputs: Sequence[ModuleOutput], predictions: Predictions) -> Iterable[FeatureLayer]:
        """Stages of the backbone, then the maps that the heads receive."""
        levels = neck_levels(find_outputs(outputs, "network.neck"))
        return [*backbone_stages(outputs, ["network.backbone"]), *levels]

    def detect(self, images: Sequence[UInt8[Tensor, "3 _height _width"]]) -> list[Detections]:
        """Run the published inference on 8-bit RGB images, in fp32, one at a time."""
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            return [self._infer(image) for image in images]

    def _infer(self, image: UInt8[Tensor, "3 height width"]) -> Detections:
        """Stretch, normalise, run the network, decode, clip, suppress the pairs of box and class, scale back."""
        size, (height, width) = (image.shape[1], image.shape[2]), self.image_size
        (output,) = self.network(self._as_published(self.network_image(image)[None]))
        scores, bins = output[:, : -4 * BINS], output[:, -4 * BINS :]
        distances = bins.view(-1, 4, BINS).softmax(-1) @ self.bin_values
        boxes, start = [], 0
        for stride in STRIDES:
            rows, columns = height // stride, width // stride
            cells = torch.arange(rows * columns, device=output.device)
            x, y = (cells % columns + 0.5) * stride, (cells // columns + 0.5) * stride
            left, top, right, bottom = (distances[start : start + len(cells)] * stride).unbind(1)
            sides = [(x - left).clamp(0, width), (y - top).clamp(0, height)]
            sides += [(x + right).clamp(0, width), (y + bottom).clamp(0, height)]
            boxes.append(torch.stack(sides, dim=1))
            start += len(cells)
        found, labels = (scores > self.score_thresh).nonzero(as_tuple=True)
        kept_boxes, kept_scores = torch.cat(boxes)[found], scores[found, labels]
        keep = batched_nms(kept_boxes, kept_scores, labels, self.nms_thresh)[: self.detections_per_image]
        scaled = self.boxes_in_image(kept_boxes[keep], self.image_size, size)
        return Detections(scaled.cpu(), kept_scores[keep].cpu(), labels[keep].cpu(), size)
