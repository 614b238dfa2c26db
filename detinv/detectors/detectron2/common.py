"""The parts that adapters of Detectron2's models share: preprocessing, anchors and inference."""

from abc import ABC
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from detectron2.data.transforms import ResizeShortestEdge, ResizeTransform
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.structures import Boxes, Instances
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from detinv.detectors.base import PROBE_SIZE, AbstractDetector
from detinv.detectors.canvas import check_canvas, settled_size
from detinv.detectors.feature_layers import FeatureLayer, HeadName
from detinv.detectors.heads.anchors import AbstractAnchorCache
from detinv.detectors.heads.codec import DeltaCodec
from detinv.detectors.heads.predictions import Predictions
from detinv.detectors.probing import ModuleOutput, backbone_stages, find_outputs, neck_levels
from detinv.errors import DetectorError
from detinv.layouts.layout import Detections
from detinv.types import Inputs, Pixels

SUPPORTED = (
    "RetinaNet, FCOS, and Faster and Mask R-CNN with one box head on a feature pyramid; not cascades, C4, keypoints, "
    "panoptic or rotated boxes"
)
"""The models of Detectron2 that have an adapter, for error messages."""

_BACKBONE, _BOTTOM_UP = "model.backbone", "bottom_up"


@dataclass(frozen=True)
class Preprocessing:
    """Preprocessing of images, which a model's configuration defines and not the model itself.

    Args:
        min_size: pixels to which the shorter side is resized, ...
        max_size: ... unless the longer one would then exceed this. With a `min_size` of 0 nothing is resized.
        input_format: order of the channels that the model's weights expect.
    """

    min_size: int
    max_size: int
    input_format: Literal["BGR", "RGB"]

    def resized(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Return (height, width) of an image of `image_size` after test-time preprocessing, applied once.

        Raises:
            DetectorError: when the shorter side would become zero.
        """
        if self.min_size == 0:
            return image_size
        height, width = ResizeShortestEdge.get_output_shape(*image_size, self.min_size, self.max_size)
        if min(height, width) < 1:
            raise DetectorError(f"an image of {image_size[1]} x {image_size[0]} pixels is too slim for Detectron2")
        return height, width


class AnchorCache(AbstractAnchorCache):
    """Anchors of Detectron2's generators, ordered by cell, then size, then ratio, and not rounded."""

    def _levels(self, inputs: Inputs, features: Sequence[Tensor]) -> list[Float[Tensor, "_ 4"]]:
        return [boxes.tensor for boxes in self._generator(list(features))]


class AbstractDetectron2Detector(AbstractDetector, ABC):
    """Owns one of Detectron2's models and freezes it.

    Args:
        model: with its weights.
        class_names: of the model's classes 0 ... K-1, which are ours; the column for background, if any, is last.
        num_classes: K.
        detections_per_image: largest number of detections that the model returns.
        preprocessing: of images before the model.

    Raises:
        DetectorError: when the names do not fit the classes, or the backbone needs square images.
    """

    model: Any  # Detectron2 ships no types
    pixel_std: Tensor

    def __init__(
        self,
        model: nn.Module,
        class_names: Sequence[str],
        num_classes: int,
        detections_per_image: int,
        preprocessing: Preprocessing,
    ) -> None:
        super().__init__()
        if len(class_names) != num_classes:
            raise DetectorError(
                f"{len(class_names)} class names for a model with {num_classes} classes: give one name for each"
            )
        self.model = model
        self.class_names = tuple(class_names)
        self.detections_per_image = detections_per_image
        self.preprocessing = preprocessing
        self.size_divisor = _size_divisor(self.model.backbone)
        mean, std = self.model.pixel_mean.flatten(), self.model.pixel_std.flatten()
        self.register_buffer("pixel_mean", self._as_rgb(mean, 0) / 255, persistent=False)
        self.register_buffer("pixel_std", self._as_rgb(std, 0) / 255, persistent=False)
        self.freeze()

    def network_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Return (height, width) to which the library's preprocessing resizes an image of `image_size`.

        Where rounding makes the library resize its own result again, this is the size that no longer changes.
        """
        return settled_size(image_size, self.preprocessing.resized)

    def level_layers(self, head: HeadName = "dense") -> tuple[FeatureLayer, ...]:
        """Return the layer that each level of a head receives, finest first.

        Raises:
            DetectorError: when the detector has no such head.
        """
        names = self._level_names(head)
        by_output = {layer.output: layer for layer in self.feature_layers() if layer.module == _BACKBONE}
        return tuple(by_output[name] for name in names)

    def _level_names(self, head: HeadName) -> Sequence[str]:
        """Return the names of the maps that a head receives, finest first; by default those of a one-stage model."""
        if head != "dense":
            raise DetectorError(f"{type(self).__name__} has no head {head!r}")
        return self.model.head_in_features

    def _find_layers(self, outputs: Sequence[ModuleOutput], predictions: Predictions) -> Iterable[FeatureLayer]:
        """Stages of the backbone below its pyramid, then the levels that the pyramid returns."""
        levels = neck_levels(find_outputs(outputs, _BACKBONE))
        parts = dict(self.model.backbone.named_children())
        if _BOTTOM_UP in parts:
            return [*backbone_stages(outputs, [f"{_BACKBONE}.{_BOTTOM_UP}"]), *levels]
        finest = min(layer.stride for layer in levels if layer.stride)
        return [*backbone_stages(outputs, [f"{_BACKBONE}.{name}" for name in parts], finest), *levels]

    def _probe_size(self) -> tuple[int, int]:
        return PROBE_SIZE

    def _inputs(self, pixels: Pixels) -> Inputs:
        """Normalise images that already have their final size, as the library's preprocessing does.

        Detectron2 works on 0 ... 255, where 8-bit pixels are whole numbers; `pixel_mean` becomes exactly zero,
        the value of the library's padding.
        """
        check_canvas(pixels, self.size_divisor)
        mean, std = 255 * self.pixel_mean[:, None, None], 255 * self.pixel_std[:, None, None]
        return self._as_rgb((255 * pixels - mean) / std, 1)

    def _as_rgb(self, channels: Tensor, axis: int) -> Tensor:
        """Convert the model's order of channels to RGB, or back, which is the same."""
        return channels.flip(axis) if self.preprocessing.input_format == "BGR" else channels

    def detect(self, images: Sequence[UInt8[Tensor, "3 _height _width"]]) -> list[Detections]:
        """Run the library's own, unmodified inference on 8-bit RGB images, in fp32.

        This is what Detectron2's `DefaultPredictor` does: Pillow resizes the 8-bit image, the model receives one image
        at a time, and boxes are scaled back.
        """
        return [self._infer(image) for image in images]

    def network_image(self, image: UInt8[Tensor, "3 height width"]) -> Float[Tensor, "3 _ _"]:
        """Return an 8-bit image in [0, 1] as Detectron2 resizes it, once: by Pillow, to 8 bits again."""
        return self._as_rgb(self._resized(image).to(self.device), 0) / 255

    def _resized(self, image: UInt8[Tensor, "3 height width"]) -> Float[Tensor, "3 _ _"]:
        """Return the image resized, 0 ... 255, in the model's order of channels."""
        height, width = image.shape[1:]
        array = np.ascontiguousarray(self._as_rgb(image, 0).permute(1, 2, 0).cpu().numpy())
        resized = ResizeTransform(height, width, *self.preprocessing.resized((height, width))).apply_image(array)
        return torch.as_tensor(resized.astype("float32").transpose(2, 0, 1))

    def _infer(self, image: UInt8[Tensor, "3 height width"]) -> Detections:
        height, width = image.shape[1:]
        inputs = self._resized(image)
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            (output,) = self.model([{"image": inputs, "height": height, "width": width}])
        return _detections(output["instances"], (height, width))


def delta_codec(transform: Any) -> DeltaCodec:
    """Return the codec of RetinaNet, of a proposal head or of a box head.

    Raises:
        DetectorError: when the model encodes boxes in another way.
    """
    if not isinstance(transform, Box2BoxTransform):
        raise unsupported(f"boxes coded by {type(transform).__name__}")
    return DeltaCodec(tuple(transform.weights), transform.scale_clamp)


def boxes_of(rois: Tensor) -> list[Boxes]:
    """Return the regions of each image as Detectron2's poolers expect them."""
    return [Boxes(one) for one in rois.unbind(0)]


def unsupported(what: str) -> DetectorError:
    """Return the error for a part that has no adapter; it lists what is supported."""
    return DetectorError(f"Detectron2 model with {what}: there is no adapter for it (supported: {SUPPORTED})")


def _size_divisor(backbone: Any) -> int:
    constraints = backbone.padding_constraints
    if constraints.get("square_size", 0) > 0:
        raise unsupported(f"images padded to a square of {constraints['square_size']} pixels")
    return max(1, constraints.get("size_divisibility", backbone.size_divisibility))


def _detections(instances: Instances, image_size: tuple[int, int]) -> Detections:
    masks = instances.pred_masks.bool().cpu() if instances.has("pred_masks") else None
    return Detections(
        instances.pred_boxes.tensor.cpu(), instances.scores.cpu(), instances.pred_classes.cpu(), image_size, masks
    )
