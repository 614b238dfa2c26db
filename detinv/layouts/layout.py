"""`Layout`, what a detector should report, and `Detections`, what it did report."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from detinv.errors import LayoutError
from detinv.inputs.numbers import is_image_size
from detinv.inputs.printable import quoted
from detinv.inputs.torch_settings import own_tensor, usual_torch
from detinv.layouts.objects import box_problem, parse_object


@dataclass(frozen=True, eq=False)
class Layout:
    """Objects of one image: boxes, classes and, optionally, masks. A layout may have no object at all.

    Args:
        boxes: XYXY in pixels, float32, continuous coordinates (no +1), inside the image.
        labels: contiguous class numbers 0 ... K-1, no background.
        image_size: (height, width) of the frame of the boxes, in pixels.
        id: name of the layout, also the stem of the files written for it.
        masks: one boolean mask per object, of `image_size`.
        file_name: of the photograph that was annotated, as the annotation file gives it, sub-folders included.

    Raises:
        LayoutError: naming the object, when a box is not finite, reversed, empty or outside the image, a label is
            negative, a type does not fit, or sizes do not agree.
    """

    boxes: Float[Tensor, "object 4"]
    labels: Int64[Tensor, " object"]
    image_size: tuple[int, int]
    id: str
    masks: Bool[Tensor, "object height width"] | None = None
    file_name: str | None = None

    def __post_init__(self) -> None:
        height, width = self.image_size
        if height < 1 or width < 1 or height % 1 or width % 1:
            raise LayoutError(f"layout {self.id}: image size {height} x {width} must be whole pixels, at least 1 x 1")
        if self.boxes.ndim != 2 or self.boxes.shape[1] != 4 or self.labels.shape != self.boxes.shape[:1]:
            raise LayoutError(
                f"layout {self.id}: boxes must be (objects, 4) with one label each, got "
                f"{tuple(self.boxes.shape)} and {tuple(self.labels.shape)}"
            )
        for name, given in (("labels", self.labels), ("masks", self.masks)):
            if given is not None and len(given) and given.is_floating_point():
                expected = "whole numbers" if name == "labels" else "true or false"
                raise LayoutError(f"layout {self.id}: {name} must be {expected}, got {given.dtype}")
        for row, (box, label) in enumerate(zip(self.boxes.tolist(), self.labels.tolist(), strict=True)):
            problem = box_problem(box, height, width)
            if label < 0:
                problem = f"label {label} is negative"
            if problem:
                raise LayoutError(f"layout {self.id}: object {row}: {problem}")
        # Whatever the program's default type is; what was made in inference mode could not be used in a loss.
        object.__setattr__(self, "image_size", (int(height), int(width)))
        object.__setattr__(self, "boxes", own_tensor(self.boxes).float())
        object.__setattr__(self, "labels", own_tensor(self.labels).long())
        if self.masks is not None:
            object.__setattr__(self, "masks", own_tensor(self.masks).bool())
        if self.masks is not None and self.masks.shape != (len(self.labels), height, width):
            raise LayoutError(
                f"layout {self.id}: masks must be {(len(self.labels), height, width)}, got {tuple(self.masks.shape)}"
            )

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    @usual_torch()
    def from_objects(
        cls,
        objects: Iterable[tuple[str, Sequence[int | float] | np.ndarray | Tensor]],
        size: tuple[int, int],
        class_names: Sequence[str],
        id: str = "layout",
    ) -> "Layout":
        """Build a layout from class names and boxes: `Layout.from_objects([("star", (6, 6, 58, 56))], ...)`.

        Args:
            objects: pairs of a class name and an XYXY box in pixels.
            size: (height, width) of the image, in pixels.
            class_names: names of the detector's classes, such as `detector.class_names`.
            id: name of the layout; layouts that are inverted together need different ones.

        Raises:
            LayoutError: naming the object (counted from 0), for an unknown class, suggesting the nearest one, and for
                a box that is not finite, is reversed or empty, or lies outside the image; for an impossible size.
        """
        if not isinstance(size, Sequence) or len(size) != 2 or not is_image_size(*size):
            raise LayoutError(f"layout {id}: size {quoted(size)} must be (height, width) in whole pixels")
        labels, boxes = [], []
        for row, (label, box) in enumerate(objects):
            numbers = [value.item() if isinstance(value, np.generic | Tensor) else value for value in box]
            number, corners = parse_object(label, numbers, class_names, size, f"layout {id}: object {row}")
            labels.append(number)
            boxes.append(corners)
        return cls(torch.tensor(boxes).reshape(-1, 4), torch.tensor(labels, dtype=torch.int64), size, id)

    @classmethod
    @usual_torch()
    def from_masks(
        cls, masks: Bool[Tensor, "object height width"], labels: Int64[Tensor, " object"], id: str
    ) -> "Layout":
        """Build a layout whose boxes are the tight bounds of the masks; a mask without a pixel is an error."""
        boxes = torch.zeros(len(masks), 4, device=masks.device)
        for row, mask in enumerate(masks):
            ys, xs = torch.nonzero(mask, as_tuple=True)
            if len(ys) == 0:
                raise LayoutError(f"layout {id}: object {row}: its mask is empty")
            boxes[row] = torch.stack([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
        return cls(boxes, labels, (masks.shape[1], masks.shape[2]), id, masks)

    def select(self, keep: Bool[Tensor, " object"]) -> "Layout":
        """Return the layout with only the objects where `keep` is true."""
        masks = None if self.masks is None else self.masks[keep]
        return replace(self, boxes=self.boxes[keep], labels=self.labels[keep], masks=masks)

    def without_masks(self) -> "Layout":
        """Return the layout without its masks."""
        return replace(self, masks=None)

    def resized(self, image_size: tuple[int, int]) -> "Layout":
        """Return the layout in a frame of another size: boxes scaled, masks by nearest neighbour (pixel centres).

        Args:
            image_size: (height, width); the two axes may scale differently.
        """
        height, width = image_size
        if (height, width) == self.image_size:
            return self
        factor_y, factor_x = height / self.image_size[0], width / self.image_size[1]
        boxes = self.boxes * self.boxes.new_tensor([factor_x, factor_y, factor_x, factor_y])
        limit = boxes.new_tensor([width, height, width, height])
        boxes = torch.minimum(boxes.clamp(min=0), limit)
        masks = self.masks
        if masks is not None:
            size = (height, width)
            masks = torch.nn.functional.interpolate(masks[None].float(), size=size, mode="nearest-exact")[0] > 0.5
        return replace(self, boxes=boxes, image_size=(height, width), masks=masks)


class Rounding(NamedTuple):
    """By how much numbers may differ because they were rounded when they were written.

    Args:
        box: of coordinates, in pixels.
        score: of scores.
    """

    box: float
    score: float


EXACT = Rounding(0.0, 0.0)


@dataclass(frozen=True, eq=False)
class Detections:
    """Objects that a detector's own inference reported for one image, in the pixel frame of that image.

    Args:
        boxes: XYXY in pixels.
        scores: in [0, 1], in the order the detector gave.
        labels: contiguous class numbers 0 ... K-1.
        image_size: (height, width) of the image.
        masks: boolean, pasted into the image, where the detector has them.
        rows: raw prediction that each detection came from, or -1 if it is not known: row of a dense head; token that a
            query was made from, where queries are chosen again in every pass; or number of a region among a two-stage
            detector's own proposals. None before `detinv.detectors.locate.locate_rows` has found them.
        regions: XYXY in pixels of those proposals, whose numbers change from pass to pass; NaN if the row is not known.
            None for detectors without a second stage.

    Raises:
        ValueError: when the lengths differ.
    """

    boxes: Float[Tensor, "object 4"]
    scores: Float[Tensor, " object"]
    labels: Int64[Tensor, " object"]
    image_size: tuple[int, int]
    masks: Bool[Tensor, "object height width"] | None = None
    rows: Int64[Tensor, " object"] | None = None
    regions: Float[Tensor, "object 4"] | None = None

    def __post_init__(self) -> None:
        for name in ("boxes", "scores", "masks", "rows", "regions"):
            value = getattr(self, name)
            if value is not None and len(value) != len(self.labels):
                raise ValueError(f"{len(self.labels)} labels, but {len(value)} {name}")

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, keep: Bool[Tensor, " object"] | Int64[Tensor, " kept"]) -> "Detections":
        """Return only the detections where `keep` is true, or those with these numbers, in that order."""
        return self._changed(lambda value: value[keep])

    def cpu(self) -> "Detections":
        """Return the detections on the CPU."""
        return self._changed(Tensor.cpu)

    def above(self, threshold: float) -> "Detections":
        """Return only the detections with a score above `threshold`."""
        return self.select(self.scores > threshold)

    def _changed(self, change: Callable[[Tensor], Tensor]) -> "Detections":
        values = {name: getattr(self, name) for name in ("boxes", "scores", "labels", "masks", "rows", "regions")}
        changed: dict[str, Any] = {name: change(value) for name, value in values.items() if value is not None}
        return replace(self, **changed)
