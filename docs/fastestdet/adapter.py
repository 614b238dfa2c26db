"""The adapter of FastestDet: raw predictions with gradient to the pixels, and the network's own inference."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from fastestdet import DIVISOR, STRIDE, FastestDet
from torch import Tensor
from torchvision.ops import batched_nms

from detinv.detectors.base import AbstractDetector
from detinv.detectors.class_names import read_class_names
from detinv.detectors.heads.assigners import Assignment
from detinv.detectors.heads.predictions import DenseHead, DensePredictions, PostProcessing, Predictions
from detinv.detectors.heads.scoring import Scoring
from detinv.detectors.regions import Regions
from detinv.errors import DetectorError
from detinv.layouts.layout import Detections
from detinv.layouts.matching import distinct_best
from detinv.zoo.weights import load_weights

WEIGHTS_AT = "https://github.com/dog-qiuqiu/FastestDet/tree/main/weights"

_CLASS_POWER, _OBJECTNESS_POWER = 0.4, 0.6
# Distance that targets keep from the limits of tanh and sigmoid, where the delta would be infinite. A box as wide as
# the image loses a few hundredths of a pixel; a centre almost a cell away cannot be reached at all.
_SHIFT_END, _SHARE_END = 0.01, 1e-4


def build(
    weights: str | None = None,
    class_names: str | Sequence[str] = "coco",
    image_size: Sequence[int] = (352, 352),
    score_thresh: float = 0.001,
    nms_thresh: float = 0.45,
    trust_weights: bool = False,
) -> "FastestDetDetector":
    """The detector that fastestdet.yaml describes; its entries are the arguments.

    Args:
        weights: path of a state dict.
        class_names: a list, "coco", or the path of a text file with one name a line, in the order of training.
        image_size: (height, width) to which every image is resized.
        score_thresh, nms_thresh: of FastestDet's own evaluation.
        trust_weights: whether weights that are a pickle may be opened.

    Raises:
        DetectorError: when there are no weights, or they do not fit.
    """
    if weights is None:
        raise DetectorError(
            f"fastestdet: no weights given; fetch the .pth file from {WEIGHTS_AT} and say detector.weights=PATH"
        )
    names = read_class_names(class_names)
    network = FastestDet(len(names))
    load_weights(network, weights, trust_weights)
    height, width = image_size
    return FastestDetDetector(network, names, (height, width), score_thresh, nms_thresh)


class FastestDetDetector(AbstractDetector):
    """Owns a FastestDet network and freezes it.

    Args:
        network: with its weights.
        class_names: one for each of its class columns.
        image_size: (height, width) to which every image is resized, whatever its shape.
        score_thresh: cells with a score at or below it are dropped.
        nms_thresh: IoU above which the lower-scored of two boxes of one class is dropped.
    """

    def __init__(
        self,
        network: FastestDet,
        class_names: Sequence[str],
        image_size: tuple[int, int],
        score_thresh: float,
        nms_thresh: float,
    ) -> None:
        super().__init__()
        height, width = image_size
        if min(image_size) < DIVISOR or height % DIVISOR or width % DIVISOR:
            raise DetectorError(f"image_size [{height}, {width}]: both sides must be multiples of {DIVISOR}")
        self.network = network
        self.class_names = tuple(class_names)
        self.image_size = image_size
        self.score_thresh = score_thresh
        self.nms_thresh = nms_thresh
        self.size_divisor = DIVISOR
        # One cell, one detection.
        self.detections_per_image = (height // STRIDE) * (width // STRIDE)
        # Nothing is subtracted and nothing is padded; inversions start around the middle of the scale.
        self.register_buffer("pixel_mean", torch.full((3,), 0.5), persistent=False)
        self._heads: dict[tuple[int, int, torch.device], DenseHead] = {}
        self.freeze()

    def network_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Always the same: FastestDet stretches every image to one size."""
        return self.image_size

    def forward(
        self,
        pixels: Tensor,
        image_sizes: Sequence[tuple[int, int]] | None = None,
        regions: Regions | None = None,
    ) -> Predictions:
        """Raw predictions; a one-stage detector needs neither `image_sizes` nor `regions`."""
        # The network learnt from images in OpenCV's order: blue, green, red.
        objectness, regression, classes = self.network.logits(pixels.flip(1))
        head = self._head(*objectness.shape[-2:], pixels.device)
        return Predictions(
            DensePredictions(_rows(classes), _rows(regression), head, quality_logits=_rows(objectness)[..., 0])
        )

    def _head(self, rows: int, columns: int, device: torch.device) -> DenseHead:
        """What is constant about the head; made once for each size, because a step must not wait for it."""
        key = (rows, columns, device)
        if key not in self._heads:
            # A pass under inference mode must not leave behind constants that a later backward cannot save.
            with torch.inference_mode(False), torch.no_grad():
                y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
                points = torch.stack([x, y], dim=-1).reshape(-1, 2).to(device, torch.float32) * STRIDE
                self._heads[key] = DenseHead(
                    anchors=torch.cat([points - STRIDE / 2, points + STRIDE / 2], dim=1),
                    level_sizes=(rows * columns,),
                    codec=CellCodec(rows * STRIDE, columns * STRIDE),
                    assigner=CellAssigner(),
                    post=PostProcessing(
                        self.score_thresh,
                        self.nms_thresh,
                        topk_candidates=rows * columns,
                        detections_per_image=rows * columns,
                        best_class_only=True,
                        clip="never",
                    ),
                    scoring=Scoring("softmax", False, _CLASS_POWER, _OBJECTNESS_POWER, objectness=True),
                )
        return self._heads[key]

    def detect(self, images: Sequence[Tensor]) -> list[Detections]:
        """FastestDet's own evaluation, in fp32, one image at a time."""
        device = self.device
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            return [self._infer(image.to(device)) for image in images]

    def resize(self, image: Tensor) -> Tensor:
        """An 8-bit image as OpenCV resizes it, to a level, bilinear without antialiasing, in 8 bits again."""
        resized = F.interpolate(image[None].float(), self.image_size, mode="bilinear", align_corners=False)[0]
        return resized.round().to(torch.uint8)

    def network_image(self, image: Tensor) -> Tensor:
        """An 8-bit image as the network receives it, in [0, 1]."""
        return self.resize(image.to(self.device)).float() / 255

    def _infer(self, image: Tensor) -> Detections:
        """Resize, divide by 255, run the whole network, decode, keep the best class of each cell, suppress."""
        height, width = image.shape[1:]
        (output,) = self.network(self.network_image(image)[None].flip(1))
        objectness, regression, classes = output[0], output[1:5], output[5:]
        best, labels = classes.max(0)
        scores = objectness**_OBJECTNESS_POWER * best**_CLASS_POWER

        rows, columns = objectness.shape
        x = (regression[0].tanh() + torch.arange(columns, device=image.device)) * STRIDE
        y = (regression[1].tanh() + torch.arange(rows, device=image.device)[:, None]) * STRIDE
        half_width = regression[2].sigmoid() * (columns * STRIDE) / 2
        half_height = regression[3].sigmoid() * (rows * STRIDE) / 2
        boxes = torch.stack([x - half_width, y - half_height, x + half_width, y + half_height], dim=-1)

        live = scores > self.score_thresh
        boxes, scores, labels = boxes[live], scores[live], labels[live]
        keep = batched_nms(boxes, scores, labels, self.nms_thresh)
        scale_y, scale_x = height / self.image_size[0], width / self.image_size[1]
        boxes = boxes[keep] * boxes.new_tensor([scale_x, scale_y, scale_x, scale_y])
        return Detections(boxes.cpu(), scores[keep].cpu(), labels[keep].cpu(), (height, width))


def _rows(maps: Tensor) -> Tensor:
    """(images, columns, height, width) to (images, height x width, columns), in fp32."""
    return maps.flatten(2).transpose(1, 2).float()


@dataclass(frozen=True)
class CellCodec:
    """(dx, dy, dw, dh) of FastestDet: tanh of the shift in cells, sigmoid of the side as a share of the image.

    An anchor is one cell large and centred on the point that the shift is measured from: the cell's upper left corner.

    Args:
        height, width: of the image, in pixels.
    """

    parts: ClassVar = ("dx", "dy", "dw", "dh")
    height: int
    width: int

    def decode(self, deltas: Tensor, anchors: Tensor) -> Tensor:
        """Boxes XYXY in pixels."""
        points, cell = _points(anchors)
        centres = points + deltas[..., :2].tanh() * cell
        half = deltas[..., 2:].sigmoid() * self._limits(deltas) / 2
        return torch.cat([centres - half, centres + half], dim=-1)

    def encode(self, boxes: Tensor, anchors: Tensor) -> Tensor:
        """The deltas that decode to `boxes`, or to the nearest box that has any."""
        points, cell = _points(anchors)
        centres, sides = (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
        shift = ((centres - points) / cell).clamp(_SHIFT_END - 1, 1 - _SHIFT_END)
        share = (sides / self._limits(boxes)).clamp(_SHARE_END, 1 - _SHARE_END)
        return torch.cat([shift.atanh(), share.logit()], dim=-1)

    def expresses(self, boxes: Tensor, anchors: Tensor) -> Tensor:
        """Which cells (last axis) can have which box (axis before): of those, `encode` changes nothing."""
        points, cell = _points(anchors)
        centres, sides = (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
        near = ((centres[:, :, None] - points).abs() <= (1 - _SHIFT_END) * cell).all(-1)
        share = sides / self._limits(boxes)
        return near & ((share >= _SHARE_END) & (share <= 1 + _SHARE_END)).all(-1)[..., None]

    def _limits(self, like: Tensor) -> Tensor:
        # Made on the device: a list copied there would make every step wait.
        return torch.stack([torch.full_like(like[..., 0], self.width), torch.full_like(like[..., 0], self.height)], -1)


@dataclass(frozen=True)
class CellAssigner:
    """The four cells around an object's centre, but for the first row and column, as in FastestDet's training.

    Of several objects that ask for a cell, the one with the nearest centre has it; every object has at least one.

    Departures: training also drops those of the four whose box fits worse than the average.
    """

    def assign(self, anchors: Tensor, level_sizes: tuple[int, ...], boxes: Tensor, valid: Tensor) -> Assignment:
        """See `detinv.detectors.heads.assigners.StaticAssigner`."""
        points, cell = _points(anchors)
        centres = (boxes[..., :2] + boxes[..., 2:]) / 2
        offset = ((centres[:, :, None] - points) / cell).abs().amax(-1)
        trained = (points > 0).all(-1)
        asked = (offset < 1) & trained & valid[..., None]
        distance, nearest = torch.where(asked, offset, torch.inf).min(dim=1)
        owner = torch.where(distance.isfinite(), nearest, -1)

        # Untrained cells last: far objects would take them otherwise when all others are gone.
        best = distinct_best(-offset - 1.0 * ~trained, valid)
        slots = torch.arange(boxes.shape[1], device=boxes.device).expand_as(best)
        spare = torch.cat([owner, owner[:, :1]], dim=1)
        owner = spare.scatter(1, torch.where(valid, best, len(anchors)), slots)[:, :-1]
        return Assignment(owner, ~asked.any(dim=1), best[..., None], valid[..., None])


def _points(anchors: Tensor) -> tuple[Tensor, Tensor]:
    """The upper left corner of each anchor's cell, and the cell's sides."""
    return (anchors[..., :2] + anchors[..., 2:]) / 2, anchors[..., 2:] - anchors[..., :2]
