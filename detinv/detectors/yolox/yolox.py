"""The adapter of YOLOX: raw predictions with gradient to the pixels, and the published inference."""

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torchvision.ops import batched_nms

from detinv.detectors.base import AbstractDetector
from detinv.detectors.canvas import check_canvas, on_canvas
from detinv.detectors.feature_layers import FeatureLayer
from detinv.detectors.heads.codec import DeltaCodec
from detinv.detectors.heads.grid import GridHeads, around_corner
from detinv.detectors.heads.predictions import DenseHead, DensePredictions, PostProcessing, Predictions
from detinv.detectors.heads.scoring import Scoring
from detinv.detectors.probing import ModuleOutput, backbone_stages, find_outputs, neck_levels
from detinv.detectors.regions import Regions
from detinv.detectors.resize import averaged_8bit, check_resize, interpolated_8bit
from detinv.detectors.yolox.simota import SimOTAAssigner
from detinv.errors import DetectorError
from detinv.inputs.ranges import check_range
from detinv.layouts.layout import Detections
from detinv.types import Pixels
from detinv.zoo.coco.yolox import STRIDES, YOLOXNano

# Grey of what the image does not fill.
_PADDING = 114 / 255
# The library sets no limit to the logarithm of a side; here exp must not overflow.
_LOG_SIDE = 12.0


class YOLOXDetector(AbstractDetector):
    """One dense head with one row per cell, an objectness, and one sigmoid per class.

    Args:
        network: with its weights; it will be frozen.
        class_names: of its class columns.
        image_size: longer side of the image in the network's input, which is a square of this side: a multiple of 32.
        score_thresh: classes of a row whose objectness times class score is at or below it are dropped.
        nms_thresh: IoU above which the lower-scored of two boxes of one class is dropped.
        detections_per_image: most detections of an image.
        resize: see `check_resize`; the published code reads each pixel from four neighbours.

    Raises:
        DetectorError: when names or size do not fit the network.
        ConfigError: for another number out of its range.
    """

    def __init__(
        self,
        network: YOLOXNano,
        class_names: Sequence[str],
        image_size: int = 416,
        score_thresh: float = 0.01,
        nms_thresh: float = 0.65,
        detections_per_image: int = 100,
        resize: str = "antialiased",
    ) -> None:
        super().__init__()
        if image_size < STRIDES[-1] or image_size % STRIDES[-1]:
            raise DetectorError(f"image_size={image_size}: must be a multiple of {STRIDES[-1]}")
        self.network = network
        self.class_names = tuple(class_names)
        self.image_size = image_size
        self.score_thresh = score_thresh
        self.nms_thresh = nms_thresh
        self.detections_per_image = detections_per_image
        self.resize = resize
        check_resize(resize)
        check_range(self, "score_thresh nms_thresh", most=1)
        check_range(self, "detections_per_image", least=1)
        # Every canvas is the whole square.
        self.size_divisor = image_size
        self.register_buffer("pixel_mean", torch.full((3,), _PADDING), persistent=False)
        self._heads = GridHeads(STRIDES, self._make_head)
        self.freeze()

    def _make_head(self, cells: Tensor, level_sizes: tuple[int, ...], canvas: tuple[int, int]) -> DenseHead:
        post = PostProcessing(
            self.score_thresh,
            self.nms_thresh,
            topk_candidates=len(cells) * len(self.class_names),
            detections_per_image=self.detections_per_image,
            topk_per="image",
            clip="never",
        )
        scoring = Scoring(quality_power=1.0, objectness=True)
        codec = DeltaCodec(scale_clamp=_LOG_SIDE)
        return DenseHead(around_corner(cells), level_sizes, codec, SimOTAAssigner(), post, scoring)

    def network_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Return (height, width) that fit into the square; its rest is padding.

        Rounded down as in the published inference, which at a few sizes loses one more column to float64.
        """
        longest = max(image_size)
        return image_size[0] * self.image_size // longest, image_size[1] * self.image_size // longest

    def network_image(self, image: UInt8[Tensor, "3 height width"]) -> Float[Tensor, "3 _ _"]:
        """Return an 8-bit image in [0, 1], resized to `network_size`, without padding."""
        resized = averaged_8bit if self.resize == "antialiased" else interpolated_8bit
        size = self.network_size((image.shape[1], image.shape[2]))
        return resized(image.to(self.device), size).float() / 255

    def boxes_in_image(
        self, boxes: Float[Tensor, "*rows 4"], network_size: tuple[int, int], image_size: tuple[int, int]
    ) -> Float[Tensor, "*rows 4"]:
        """Convert boxes to pixels of the image, by one factor for both axes as in the published inference."""
        return boxes * (max(image_size) / self.image_size)

    def forward(
        self,
        pixels: Pixels,
        image_sizes: Sequence[tuple[int, int]] | None = None,
        regions: Regions | None = None,
    ) -> Predictions:
        """Return raw predictions; a one-stage detector needs neither `image_sizes` nor `regions`."""
        check_canvas(pixels, STRIDES[-1])
        # Always in float32: bfloat16 moves the outputs of so narrow a network by a tenth of their spread.
        with torch.autocast(pixels.device.type, enabled=False):
            regression, objectness, classes = self.network.logits(_as_published(pixels.float()))
        head = self._heads.at(pixels)
        return Predictions(DensePredictions(classes, regression, head, quality_logits=objectness[..., 0]))

    def _find_layers(self, outputs: Sequence[ModuleOutput], predictions: Predictions) -> Iterable[FeatureLayer]:
        """Stages of the backbone, then the maps that the heads receive."""
        paths = ("network.neck.down3", "network.neck.up4", "network.neck.up5")
        levels = neck_levels(one for path in paths for one in find_outputs(outputs, path))
        return [*backbone_stages(outputs, ["network.backbone"]), *levels]

    def detect(self, images: Sequence[UInt8[Tensor, "3 _height _width"]]) -> list[Detections]:
        """Run the published inference on 8-bit RGB images, in fp32, one at a time."""
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            return [self._infer(image) for image in images]

    def _infer(self, image: UInt8[Tensor, "3 height width"]) -> Detections:
        """Fit into the square, run the network, decode, suppress the pairs of box and class, scale back."""
        size = (image.shape[1], image.shape[2])
        inputs = self.network_image(image)
        (output,) = self.network(_as_published(on_canvas(self, [inputs])))
        corners, strides = _grid(self.image_size, output.device)
        centres = (output[:, :2] + corners) * strides
        half = output[:, 2:4].exp() * strides / 2
        boxes = torch.cat([centres - half, centres + half], dim=1)
        pairs = output[:, 4:5] * output[:, 5:]
        rows, labels = (pairs > self.score_thresh).nonzero(as_tuple=True)
        boxes, scores = boxes[rows], pairs[rows, labels]
        keep = batched_nms(boxes, scores, labels, self.nms_thresh)[: self.detections_per_image]
        boxes = self.boxes_in_image(boxes[keep], (inputs.shape[1], inputs.shape[2]), size)
        return Detections(boxes.cpu(), scores[keep].cpu(), labels[keep].cpu(), size)


def _as_published(pixels: Pixels) -> Tensor:
    """Return the network's input, which learnt from images in OpenCV's order and range: blue, green, red, 0 to 255."""
    return pixels.flip(1) * 255


def _grid(side: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return column, row and stride of every cell."""
    found = []
    for stride in STRIDES:
        cells = torch.arange((side // stride) ** 2, device=device)
        rows, columns = cells // (side // stride), cells % (side // stride)
        found.append(torch.stack([columns, rows, torch.full_like(cells, stride)], dim=1))
    grid = torch.cat(found).float()
    return grid[:, :2], grid[:, 2:]
