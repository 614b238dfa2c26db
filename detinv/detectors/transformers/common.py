"""The parts that adapters of transformers' DETR-type models share: preprocessing, columns, constants, inference."""

import math
from abc import ABC
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from detinv.detectors.base import AbstractDetector
from detinv.detectors.canvas import settled_size
from detinv.detectors.heads.predictions import DenseHead, PostProcessing
from detinv.detectors.heads.scoring import Scoring
from detinv.detectors.transformers.codec import RelativeCodec
from detinv.detectors.transformers.families import FAMILIES
from detinv.errors import DetectorError
from detinv.layouts.layout import Detections
from detinv.types import Inputs, Pixels

_GREY = (0.5, 0.5, 0.5)


class AbstractTransformersDetector(AbstractDetector, ABC):
    """Owns a detection model of transformers and the image processor that belongs to it.

    Boxes are fractions of the whole image, so all images of a batch have one size and fill their canvas.

    Args:
        model: of the library's classes ...ForObjectDetection, with its weights; it will be frozen.
        processor: the model's image processor.
        class_names: of our classes 0 ... K-1.
        columns: the model's column of each class; by default all in order.
        score_thresh: detections with a score at or below it are dropped.

    Raises:
        DetectorError: when names and columns do not fit, or the processor does not bring pixels to [0, 1].
    """

    model: Any  # the library's classes say little to a type checker
    processor: Any
    pixel_std: Tensor
    _columns: Tensor
    _dead_columns: Tensor
    _label_of_column: Tensor

    def __init__(
        self,
        model: nn.Module,
        processor: Any,
        class_names: Sequence[str],
        columns: Sequence[int] | None = None,
        score_thresh: float = 0.05,
    ) -> None:
        super().__init__()
        self.model = model
        self.processor = processor
        self.family = FAMILIES[self.model.config.model_type]
        self.trained_on_photographs = self.family.photographs
        total = self.model.config.num_labels + int(self._scoring().background)
        columns = tuple(range(self.model.config.num_labels)) if columns is None else tuple(columns)
        if len(columns) != len(class_names):
            raise DetectorError(
                f"{len(class_names)} class names for a model with {len(columns)} classes: give one name for each"
            )
        if not processor.do_rescale or not math.isclose(processor.rescale_factor, 1 / 255, rel_tol=1e-6):
            raise DetectorError("the image processor must rescale pixels by 1/255; this one does something else")
        self.class_names = tuple(class_names)
        self.columns = columns
        self.score_thresh = score_thresh
        limit = self.family.limit
        self.detections_per_image = getattr(self.model.config, limit) if isinstance(limit, str) else limit
        self.size_divisor = 1
        # Without normalisation nothing is padded either, and grey is as good a start as any colour.
        mean = processor.image_mean if processor.do_normalize else _GREY
        std = processor.image_std if processor.do_normalize else (1.0, 1.0, 1.0)
        dead = [column for column in range(total) if column not in columns]
        labels = torch.full((total,), -1)
        labels[list(columns)] = torch.arange(len(columns))
        device = next(self.model.parameters()).device
        for name, value in {
            "pixel_mean": torch.tensor(mean),
            "pixel_std": torch.tensor(std),
            "_columns": torch.tensor(columns),
            "_dead_columns": torch.tensor(dead, dtype=torch.int64),
            "_label_of_column": labels,
        }.items():
            self.register_buffer(name, value.to(device), persistent=False)
        self._heads: dict[tuple, DenseHead] = {}
        self.freeze()
        self._prepare()

    def _prepare(self) -> None:
        """Find what depends on the network and the size of its input alone; the constructor ends with it."""

    def network_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Return (height, width) to which the image processor resizes an image of `image_size`.

        Where rounding makes the processor resize its own result again, this is the size that no longer changes.
        """
        return settled_size(image_size, self._resized)

    def _resized(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Return (height, width) after the image processor, applied once to an image without memory."""
        if not self.processor.do_resize:
            return image_size
        image = torch.empty(3, *image_size, device="meta")
        _, height, width = self.processor.resize(image, size=self.processor.size).shape
        return height, width

    def _inputs(self, pixels: Pixels, image_sizes: Sequence[tuple[int, int]] | None) -> Inputs:
        """Normalise images that already have their final size, as the image processor does."""
        canvas = (pixels.shape[2], pixels.shape[3])
        if image_sizes is not None and any(tuple(size) != canvas for size in image_sizes):
            raise ValueError(f"images of {list(image_sizes)} on a canvas of {canvas}: every image must fill it")
        if not self.processor.do_normalize:
            return pixels
        return (pixels - self.pixel_mean[:, None, None]) / self.pixel_std[:, None, None]

    def _scoring(self) -> Scoring:
        """Return how the logits become scores."""
        return Scoring(self.family.activation, background=self.family.activation == "softmax")

    def _is_attended(self, module: str) -> bool:
        """Tell whether queries attend to what the module at this dotted path returns."""
        return any(fnmatchcase(module, pattern) for pattern in self.family.attended)

    def _head(self, canvas: tuple[int, int], level_sizes: tuple[int, ...]) -> DenseHead:
        """Return the constants of rows that predict boxes as fractions of the image; computed once for each size."""
        device = self.device
        key = (canvas, level_sizes, device)
        if key not in self._heads:
            rows = sum(level_sizes)
            # Constants made under inference mode could not be saved for a later backward pass.
            with torch.inference_mode(False), torch.no_grad():
                whole = torch.tensor([0.0, 0.0, canvas[1], canvas[0]], device=device)
                post = PostProcessing(
                    self.score_thresh,
                    None,
                    self.detections_per_image,
                    self.detections_per_image,
                    topk_per="image",
                    best_class_only=self._scoring().background,
                    clip="never",
                )
                head = DenseHead(whole.expand(rows, 4), level_sizes, RelativeCodec(), None, post, self._scoring())
                # Cached here: computing it copies a list to the device, for which later steps would wait.
                _ = head.levels
            self._heads[key] = head
        return self._heads[key]

    def _known_columns(self, logits: Float[Tensor, "batch row _"]) -> Float[Tensor, "batch row column"]:
        """Return our classes and, of a softmax with background, one column for it and all unused ones together."""
        if self._scoring().background:
            rest = logits.index_select(-1, self._dead_columns).logsumexp(-1, keepdim=True)
            return torch.cat([logits.index_select(-1, self._columns), rest], dim=-1)
        if self.columns == tuple(range(logits.shape[-1])):
            return logits
        return logits.index_select(-1, self._columns)

    def detect(self, images: Sequence[UInt8[Tensor, "3 _height _width"]]) -> list[Detections]:
        """Run the library's own, unmodified inference on 8-bit RGB images, in fp32; best first.

        Images are run one at a time, so that no detection depends on another image, not even in the last bit.
        """
        return [self._infer(image) for image in images]

    def network_image(self, image: UInt8[Tensor, "3 height width"]) -> Float[Tensor, "3 _ _"]:
        """Return an 8-bit image in [0, 1] as the image processor resizes it, once."""
        found = self.processor(
            images=image.to(self.device), input_data_format="channels_first", do_normalize=False, return_tensors="pt"
        )
        return found["pixel_values"][0].float()

    def _infer(self, image: UInt8[Tensor, "3 height width"]) -> Detections:
        device, size = self.device, (image.shape[1], image.shape[2])
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            inputs = self.processor(images=image.to(device), input_data_format="channels_first", return_tensors="pt")
            outputs = self.model(**inputs)
            (found,) = self.processor.post_process_object_detection(
                outputs, threshold=self.score_thresh, target_sizes=[size]
            )
        return self._detections(found, size)

    def _detections(self, found: dict[str, Tensor], image_size: tuple[int, int]) -> Detections:
        """Return the library's result with our labels, without the classes for which we have no name."""
        labels: Int64[Tensor, " found"] = self._label_of_column[found["labels"]]
        order = found["scores"].argsort(descending=True, stable=True)
        order = order[labels[order] >= 0]
        return Detections(found["boxes"][order].cpu(), found["scores"][order].cpu(), labels[order].cpu(), image_size)


def at_least_fp32(values: Tensor) -> Tensor:
    """Return `values` in fp32, unless they are more precise."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def take(values: Float[Tensor, "batch n _"], rows: Int64[Tensor, "batch row"]) -> Float[Tensor, "batch row _"]:
    """Return values[b, rows[b, r]]."""
    return values.gather(1, rows[..., None].expand(-1, -1, values.shape[2]))
