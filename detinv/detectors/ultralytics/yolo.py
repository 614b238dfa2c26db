"""YOLO networks of ultralytics, which is imported only when one is built.

Supported are the heads of v8, v11 and similar versions, which need suppression, and one-to-one branches (v10, YOLO26),
which do not.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from detinv.detectors.base import PROBE_SIZE, AbstractDetector
from detinv.detectors.canvas import check_canvas
from detinv.detectors.feature_layers import FeatureLayer, HeadName
from detinv.detectors.heads.distances import PointCodec
from detinv.detectors.heads.predictions import DenseHead, DensePredictions, PostProcessing, Predictions
from detinv.detectors.heads.task_aligned import TaskAlignedAssigner
from detinv.detectors.probing import ModuleOutput, backbone_stages, find_outputs, neck_levels
from detinv.detectors.regions import Regions
from detinv.detectors.ultralytics.library import check_head, require_ultralytics
from detinv.detectors.ultralytics.network import head_inputs, head_of, head_sources, neck_start
from detinv.errors import DetectorError
from detinv.layouts.batch import canvas_size
from detinv.layouts.layout import Detections
from detinv.types import Pixels

# Grey with which the library pads images.
_PADDING = 114 / 255
# The library pads sides to multiples of this, even where the network could do with less.
_LEAST_DIVISOR = 32
# Most candidates that the library's suppression considers, and fewest rows that an end-to-end head returns.
_MOST_CANDIDATES, _LEAST_ROWS = 30000, 300
# Pixels by which the library offsets the boxes of each class before it suppresses all classes at once.
_CLASS_OFFSET = 7680.0


class UltralyticsYOLO(AbstractDetector):
    """One dense head with one point per cell and one sigmoid per class, without objectness.

    The network is never fused, and its one-to-one branch is called on features with a gradient, which the library
    detaches in training.

    Args:
        model: a `DetectionModel` of ultralytics with its weights; it will be frozen, in fp32.
        class_names: of the classes 0 ... K-1.
        image_size: longer side of the network's input, a multiple of 32 and of its coarsest stride.
        score_thresh, nms_thresh, detections_per_image: of the library's inference ("conf", "iou", "max_det").
        end_to_end: whether to use the one-to-one branch, which needs no suppression; by default if there is one.

    Raises:
        DetectorError: when the network does not end in a plain detection head, or names, size or branch do not fit it.
    """

    model: Any

    def __init__(
        self,
        model: nn.Module,
        class_names: Sequence[str],
        image_size: int = 640,
        score_thresh: float = 0.25,
        nms_thresh: float = 0.7,
        detections_per_image: int = 300,
        end_to_end: bool | None = None,
    ) -> None:
        require_ultralytics()
        from ultralytics.data.augment import LetterBox

        super().__init__()
        self.model = model.float()
        head = self._head
        check_head(type(head).__name__, "model")
        if len(class_names) != head.nc:
            raise DetectorError(f"{len(class_names)} class names for a network with {head.nc} classes")
        strides = [int(stride) for stride in head.stride]
        divisor = max(_LEAST_DIVISOR, *strides)
        if image_size < 1 or image_size % divisor:
            raise DetectorError(f"image_size={image_size}: must be a multiple of {divisor}, as the library pads images")
        for name, value in (("score_thresh", score_thresh), ("nms_thresh", nms_thresh)):
            if not 0 <= value <= 1:
                raise DetectorError(f"{name}={value}: must lie in 0 ... 1")
        if detections_per_image < 1:
            raise DetectorError(f"detections_per_image={detections_per_image}: must be at least 1")
        one_to_one = getattr(head, "one2one_cv2", None) is not None
        end_to_end = one_to_one if end_to_end is None else end_to_end
        if end_to_end and not one_to_one or not end_to_end and head.cv2 is None:
            raise DetectorError(f"end_to_end={str(end_to_end).lower()}: this network does not have that branch")
        head.end2end = end_to_end
        head.max_det = max(_LEAST_ROWS, detections_per_image)

        self.class_names = tuple(class_names)
        self.size_divisor = divisor
        self.image_size = image_size
        self.detections_per_image = detections_per_image
        self.end_to_end = end_to_end
        self._strides = strides
        self._letterbox = LetterBox((image_size, image_size), auto=True, stride=self.size_divisor)
        self._assigner = None if end_to_end else TaskAlignedAssigner(reach=self._reach)
        self._post = PostProcessing(
            score_thresh,
            None if end_to_end else nms_thresh,
            head.max_det if end_to_end else _MOST_CANDIDATES,
            detections_per_image,
            topk_per="image",
            best_class_only=not end_to_end,
            min_size=-math.inf,  # reversed boxes, of heads without distributions, are reported as well
            class_offset=_CLASS_OFFSET,
            clip="after",
        )
        self._nms_thresh = nms_thresh
        self._cache: dict[tuple, _Constants] = {}
        device = next(model.parameters()).device
        self.register_buffer("pixel_mean", torch.full((3,), _PADDING, device=device), persistent=False)
        self.register_buffer(
            "_bin_values", torch.arange(head.reg_max, dtype=torch.float32, device=device), persistent=False
        )
        self.freeze()

    @property
    def _head(self) -> Any:
        return head_of(self.model)

    @property
    def _reach(self) -> float:
        """Largest distance that the head can predict, in strides."""
        return self._head.reg_max - 1.0 if self._head.reg_max > 1 else math.inf

    def network_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Return (height, width) of the letterbox, grey borders included, in which the network receives an image.

        The library scales the longer side to `image_size` and pads the shorter one to a multiple of the stride. An
        image that has the letterbox's own size is neither scaled nor padded.
        """
        factor = min(self.image_size / side for side in image_size)
        height, width = (max(round(side * factor), 1) for side in image_size)
        return canvas_size([(height, width)], self.size_divisor)

    def level_layers(self, head: HeadName = "dense") -> tuple[FeatureLayer, ...]:
        """Return the layer that each level of the head receives, finest first.

        Raises:
            DetectorError: for any head but the dense one.
        """
        if head != "dense":
            raise DetectorError(f"{type(self).__name__} has no head {head!r}")
        by_module = {layer.module: layer for layer in self.feature_layers()}
        return tuple(by_module[path] for path in self._level_paths())

    def _level_paths(self) -> list[str]:
        """Return the paths of the layers whose outputs the head takes."""
        return [f"model.model.{number}" for number in head_sources(self.model)]

    def _find_layers(self, outputs: Sequence[ModuleOutput], predictions: Predictions) -> Iterable[FeatureLayer]:
        """Stages of the backbone, which ends where maps become finer again, then the maps that the head receives."""
        inside = [f"model.model.{number}" for number in range(neck_start(self.model))]
        levels = neck_levels(one for path in self._level_paths() for one in find_outputs(outputs, path))
        return [*backbone_stages(outputs, inside), *levels]

    def _probe_size(self) -> tuple[int, int]:
        return PROBE_SIZE

    def forward(
        self,
        pixels: Pixels,
        image_sizes: Sequence[tuple[int, int]] | None = None,
        regions: Regions | None = None,
    ) -> Predictions:
        """Return raw predictions; a one-stage detector needs neither `image_sizes` nor `regions`."""
        check_canvas(pixels, self.size_divisor)
        features = head_inputs(self.model, pixels)
        head = self._head
        boxes, classes = (head.one2one_cv2, head.one2one_cv3) if self.end_to_end else (head.cv2, head.cv3)
        regressed = _rows([branch(feature) for branch, feature in zip(boxes, features, strict=True)])
        logits = _rows([branch(feature) for branch, feature in zip(classes, features, strict=True)])
        constants = self._constants((pixels.shape[2], pixels.shape[3]), pixels.device)
        if head.reg_max == 1:
            return Predictions(DensePredictions(logits, regressed * constants.factors, constants.head))
        bins = regressed.unflatten(-1, (4, head.reg_max))
        distances = (bins.softmax(-1) * self._bin_values).sum(-1)
        return Predictions(DensePredictions(logits, distances, constants.head, bins=bins))

    def _constants(self, canvas: tuple[int, int], device: torch.device) -> "_Constants":
        key = (canvas, device)
        if key not in self._cache:
            # Constants made under inference mode could not be saved for a later backward pass.
            with torch.inference_mode(False), torch.no_grad():
                self._cache[key] = self._make(canvas, device)
        return self._cache[key]

    def _make(self, canvas: tuple[int, int], device: torch.device) -> "_Constants":
        height, width = canvas
        anchors = torch.cat([_cells(height // stride, width // stride, stride) for stride in self._strides]).to(device)
        sizes = tuple((height // stride) * (width // stride) for stride in self._strides)
        # Without distributions training uses an L1 loss, in units of the image's sides.
        unit = None if self._head.reg_max > 1 else (float(width), float(height))
        codec = PointCodec(self._reach, unit)
        sides = anchors[:, 2:] - anchors[:, :2]
        factors = (sides / anchors.new_tensor((width, height))).repeat(1, 2)
        head = DenseHead(anchors, sizes, codec, self._assigner, self._post)
        _ = head.levels  # cached here: computing it copies a list to the device, for which later steps would wait
        return _Constants(head, factors)

    def detect(self, images: Sequence[UInt8[Tensor, "3 _height _width"]]) -> list[Detections]:
        """Run the library's own inference on 8-bit RGB images, in fp32, step by step.

        Its predictor would fuse the network, log, and look for files, but performs the same steps in the same order:
        letterbox, network, suppression, and scaling boxes back. Images are run one at a time, so that none depends on
        another.
        """
        return [self._infer(image) for image in images]

    def network_image(self, image: UInt8[Tensor, "3 height width"]) -> Float[Tensor, "3 _ _"]:
        """Return an 8-bit image in [0, 1] in the library's letterbox, grey borders included."""
        # The predictor converts BGR to RGB after the letterbox, which treats all channels alike.
        canvas = self._letterbox(image=image.permute(1, 2, 0).contiguous().cpu().numpy())
        return torch.from_numpy(canvas).to(self.device).permute(2, 0, 1).contiguous().float() / 255

    def boxes_in_image(
        self, boxes: Float[Tensor, "*rows 4"], network_size: tuple[int, int], image_size: tuple[int, int]
    ) -> Float[Tensor, "*rows 4"]:
        """Convert boxes from pixels of the letterbox to pixels of the image, clipped to it."""
        from ultralytics.utils.ops import scale_boxes

        scaled: Any = scale_boxes(network_size, boxes.clone(), image_size)
        return scaled

    def _infer(self, image: UInt8[Tensor, "3 height width"]) -> Detections:
        from ultralytics.utils.nms import non_max_suppression

        size, inputs = (image.shape[1], image.shape[2]), self.network_image(image)[None]
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            # The head caches its points by the shape of the features alone, whatever their precision.
            self._head.shape = None
            (found,) = non_max_suppression(
                self.model(inputs),
                self._post.score_thresh,
                self._nms_thresh,
                max_det=self.detections_per_image,
                end2end=self.end_to_end,
            )
            boxes = self.boxes_in_image(found[:, :4], (inputs.shape[2], inputs.shape[3]), size)
        return Detections(boxes.cpu(), found[:, 4].cpu(), found[:, 5].long().cpu(), size)


@dataclass(frozen=True)
class _Constants:
    """Constants for one size of canvas.

    Args:
        head: the head's constants.
        factors: distances in strides to distances in units of the canvas's sides.
    """

    head: DenseHead
    factors: Float[Tensor, "anchor 4"]


def _cells(rows: int, columns: int, stride: int) -> Float[Tensor, "anchor 4"]:
    """Return the cells of a grid as boxes, row by row; a point is the centre of its cell."""
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    corners = torch.stack([x, y, x + 1, y + 1], dim=-1)
    return corners.reshape(-1, 4).float() * stride


def _rows(levels: Sequence[Float[Tensor, "batch column _ _"]]) -> Float[Tensor, "batch anchor column"]:
    """Flatten maps of all levels to rows, in fp32."""
    return torch.cat([level.flatten(2) for level in levels], dim=2).transpose(1, 2).float()
