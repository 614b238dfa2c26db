"""The parts that adapters of torchvision's models share: preprocessing, anchors, class columns and inference."""

import math
from abc import ABC
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from detinv.detectors.base import PROBE_SIZE, AbstractDetector
from detinv.detectors.canvas import check_canvas, settled_size
from detinv.detectors.feature_layers import FeatureLayer, HeadName
from detinv.detectors.heads.anchors import AbstractAnchorCache
from detinv.detectors.heads.predictions import Predictions
from detinv.detectors.probing import ModuleOutput, backbone_stages, find_outputs, neck_levels
from detinv.errors import DetectorError
from detinv.layouts.layout import Detections
from detinv.types import Inputs, Pixels

_BACKBONE, _PYRAMID = "model.backbone", "fpn"


class AnchorCache(AbstractAnchorCache):
    """Anchors of torchvision's generators."""

    def _levels(self, inputs: Inputs, features: Sequence[Tensor]) -> list[Float[Tensor, "_ 4"]]:
        grids = [feature.shape[-2:] for feature in features]
        # The generator casts its cell anchors to the features' dtype, in place: bfloat16 would round them permanently.
        shapes = [torch.empty(1, 1, *grid, dtype=torch.float32, device=inputs.device) for grid in grids]
        canvas = ImageList(torch.empty(1, 1, *inputs.shape[-2:], device=inputs.device), [tuple(inputs.shape[-2:])])
        per_cell = self._generator.num_anchors_per_location()
        sizes = [math.prod(grid) * count for grid, count in zip(grids, per_cell, strict=True)]
        return list(self._generator(canvas, shapes)[0].split(sizes))


class AbstractTorchvisionDetector(AbstractDetector, ABC):
    """Owns a torchvision detection model and freezes it.

    Args:
        model: any of torchvision's detection models, with its weights.
        class_names: of our classes 0 ... K-1.
        columns: the model's column (its own label) of each of our classes.
        num_columns: how many columns the model's classifier has.
        detections_per_image: largest number of detections that the model returns.

    Raises:
        DetectorError: when the names do not fit the columns.
    """

    model: Any  # torchvision ships no types
    pixel_std: Tensor
    _columns: Tensor
    _dead_columns: Tensor
    _label_of_column: Tensor

    def __init__(
        self,
        model: nn.Module,
        class_names: Sequence[str],
        columns: Sequence[int],
        num_columns: int,
        detections_per_image: int,
    ) -> None:
        super().__init__()
        if len(columns) != len(class_names):
            raise DetectorError(
                f"{len(class_names)} class names for a model with {len(columns)} classes: give one name for each"
            )
        if len(set(columns)) != len(columns) or not all(0 <= column < num_columns for column in columns):
            raise DetectorError(f"columns {tuple(columns)} must differ and lie in 0 ... {num_columns - 1}")
        self.model = model
        self.class_names = tuple(class_names)
        self.columns = tuple(columns)
        self.detections_per_image = detections_per_image
        self.size_divisor = self._transform.size_divisible
        labels = torch.full((num_columns,), -1)
        labels[list(columns)] = torch.arange(len(columns))
        device = next(model.parameters()).device
        self.register_buffer("pixel_mean", torch.tensor(self._transform.image_mean, device=device), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(self._transform.image_std, device=device), persistent=False)
        self.register_buffer("_columns", torch.tensor(self.columns, device=device), persistent=False)
        dead = [column for column in range(num_columns) if column not in self.columns]
        self.register_buffer("_dead_columns", torch.tensor(dead, dtype=torch.int64, device=device), persistent=False)
        self.register_buffer("_label_of_column", labels.to(device), persistent=False)
        self.freeze()

    @property
    def _transform(self) -> GeneralizedRCNNTransform:
        return self.model.transform

    def network_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Return (height, width) to which the library's preprocessing resizes an image of `image_size`.

        Where rounding makes the library resize its own result again, this is the size that no longer changes.
        """
        return settled_size(image_size, self._resized)

    def _resized(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Return (height, width) after the library's preprocessing, applied once."""
        if self._transform.fixed_size is not None:
            width, height = self._transform.fixed_size
            return height, width
        shortest, longest = self._transform.min_size[-1], self._transform.max_size
        factor = min(shortest / min(image_size), longest / max(image_size))
        return math.floor(image_size[0] * factor), math.floor(image_size[1] * factor)

    def level_layers(self, head: HeadName = "dense") -> tuple[FeatureLayer, ...]:
        """Return the layer that each level of a head receives, finest first: the backbone's outputs, all of them.

        Raises:
            DetectorError: when the detector has no such head.
        """
        if head != "dense":
            raise DetectorError(f"{type(self).__name__} has no head {head!r}")
        return tuple(layer for layer in self.feature_layers() if layer.module == _BACKBONE)

    def _find_layers(self, outputs: Sequence[ModuleOutput], predictions: Predictions) -> Iterable[FeatureLayer]:
        """Stages of the backbone, then the levels it returns, which without a pyramid are its coarse stages."""
        levels = neck_levels(find_outputs(outputs, _BACKBONE))
        parts = dict(self.model.backbone.named_children())
        finest = min(layer.stride for layer in levels if layer.stride)
        inside = [f"{_BACKBONE}.{name}" for name in parts if name != _PYRAMID]
        stages = backbone_stages(outputs, inside) if _PYRAMID in parts else backbone_stages(outputs, inside, finest)
        return [*stages, *levels]

    def _probe_size(self) -> tuple[int, int]:
        return PROBE_SIZE if self._transform.fixed_size is None else self.network_size(PROBE_SIZE)

    def _inputs(self, pixels: Pixels) -> Inputs:
        """Normalise images that already have their final size, as the library's preprocessing does."""
        check_canvas(pixels, self.size_divisor)
        return (pixels - self.pixel_mean[:, None, None]) / self.pixel_std[:, None, None]

    def _features(self, inputs: Inputs) -> "OrderedDict[str, Tensor]":
        """Return the backbone's feature maps, finest level first."""
        features = self.model.backbone(inputs)
        return OrderedDict([("0", features)]) if isinstance(features, Tensor) else features

    def _known_columns(self, logits: Float[Tensor, "batch anchor _"]) -> Float[Tensor, "batch anchor class"]:
        """Select our classes' columns of a dense head's logits."""
        if self.columns == tuple(range(logits.shape[-1])):
            return logits
        return logits.index_select(-1, self._columns)

    def _keep_known_columns(self, head: Any) -> None:
        """Remove the columns of a dense head that are not our classes.

        Args:
            head: has a convolution `cls_logits`, whose output channels are anchors, then `num_classes` columns.
        """
        layer: nn.Conv2d = head.cls_logits
        for name, rows in list(layer.named_parameters(recurse=False)):
            kept = rows.unflatten(0, (-1, head.num_classes))[:, list(self.columns)].flatten(0, 1)
            setattr(layer, name, nn.Parameter(kept, requires_grad=False))
        layer.out_channels = len(layer.weight)
        head.num_classes = len(self.columns)
        self.columns = tuple(range(len(self.columns)))

    def _background_last(self, logits: Float[Tensor, "*rows _"]) -> Float[Tensor, "*rows column"]:
        """Return our classes, then one column for the background and all unused columns together."""
        rest = logits.index_select(-1, self._dead_columns).logsumexp(-1, keepdim=True)
        return torch.cat([logits.index_select(-1, self._columns), rest], dim=-1)

    def detect(self, images: Sequence[UInt8[Tensor, "3 _height _width"]]) -> list[Detections]:
        """Run the library's own, unmodified inference on 8-bit RGB images, in fp32.

        Images are run one at a time, so that no detection depends on another image, not even in the last bit.
        """
        return [self._infer(image) for image in images]

    def network_image(self, image: UInt8[Tensor, "3 height width"]) -> Float[Tensor, "3 _ _"]:
        """Return an 8-bit image in [0, 1] as the library resizes it, once: bilinearly without antialiasing."""
        resized, _ = self._transform.resize(image.to(self.device, torch.float32) / 255)
        return resized

    def _infer(self, image: UInt8[Tensor, "3 height width"]) -> Detections:
        device = self.device
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            (output,) = self.model([image.to(device, torch.float32) / 255])
        return self._detections(output, (image.shape[1], image.shape[2]))

    def _detections(self, output: dict[str, Tensor], image_size: tuple[int, int]) -> Detections:
        """Return the library's result with our labels, without the classes for which we have no name."""
        labels = self._label_of_column[output["labels"]]
        known = labels >= 0
        masks = (output["masks"][known, 0] > 0.5).cpu() if "masks" in output else None
        return Detections(
            output["boxes"][known].cpu(), output["scores"][known].cpu(), labels[known].cpu(), image_size, masks
        )
