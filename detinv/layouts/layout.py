"""`Layout`, what a detector should report, and `Detections`, what it did report."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from detinv.errors import LayoutError

# Annotation files round to two decimals; a box may stick out by that much.
_BORDER_TOLERANCE = 0.02


@dataclass(frozen=True, eq=False)
class Layout:
    """Objects of one image: boxes, classes and, optionally, masks. No object at all is legal.

    Args:
        boxes: XYXY in pixels, float32, continuous coordinates (no +1), inside the image.
        labels: contiguous class numbers 0 ... K-1, no background.
        image_size: (height, width) of the frame the boxes live in.
        id: name of the layout, also the stem of the files written for it.
        masks: one boolean mask per object, of `image_size`.

    Raises:
        LayoutError: naming the object, when a box is not finite, reversed, empty or outside the image, a label is
            negative, or sizes do not agree.
    """

    boxes: Float[Tensor, "object 4"]
    labels: Int64[Tensor, " object"]
    image_size: tuple[int, int]
    id: str
    masks: Bool[Tensor, "object height width"] | None = None

    def __post_init__(self) -> None:
        height, width = self.image_size
        if height < 1 or width < 1:
            raise LayoutError(f"layout {self.id}: image size {height} x {width} is not positive")
        if self.boxes.ndim != 2 or self.boxes.shape[1] != 4 or self.labels.shape != self.boxes.shape[:1]:
            raise LayoutError(
                f"layout {self.id}: boxes must be (objects, 4) with one label each, got "
                f"{tuple(self.boxes.shape)} and {tuple(self.labels.shape)}"
            )
        for row, (box, label) in enumerate(zip(self.boxes.tolist(), self.labels.tolist(), strict=True)):
            problem = box_problem(box, height, width)
            if label < 0:
                problem = f"label {label} is negative"
            if problem:
                raise LayoutError(f"layout {self.id}: object {row}: {problem}")
        if self.masks is not None and self.masks.shape != (len(self.labels), height, width):
            raise LayoutError(
                f"layout {self.id}: masks must be {(len(self.labels), height, width)}, got {tuple(self.masks.shape)}"
            )

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def from_masks(
        cls, masks: Bool[Tensor, "object height width"], labels: Int64[Tensor, " object"], id: str
    ) -> "Layout":
        """Layout whose boxes are the tight bounds of the masks; a mask without a pixel is an error."""
        boxes = torch.zeros(len(masks), 4)
        for row, mask in enumerate(masks):
            ys, xs = torch.nonzero(mask, as_tuple=True)
            if len(ys) == 0:
                raise LayoutError(f"layout {id}: object {row}: its mask is empty")
            boxes[row] = torch.stack([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
        return cls(boxes, labels, (masks.shape[1], masks.shape[2]), id, masks)

    def select(self, keep: Bool[Tensor, " object"]) -> "Layout":
        """The same layout with only the objects where `keep` is true."""
        masks = None if self.masks is None else self.masks[keep]
        return replace(self, boxes=self.boxes[keep], labels=self.labels[keep], masks=masks)

    def without_masks(self) -> "Layout":
        """The same layout as boxes only."""
        return replace(self, masks=None)

    def resized(self, image_size: tuple[int, int]) -> "Layout":
        """The layout in a frame of another size: boxes scaled, masks by nearest neighbour (pixel centres).

        Args:
            image_size: (height, width); the two axes may scale differently.
        """
        if image_size == self.image_size:
            return self
        height, width = image_size
        factor_y, factor_x = height / self.image_size[0], width / self.image_size[1]
        boxes = self.boxes * torch.tensor([factor_x, factor_y, factor_x, factor_y])
        limit = torch.tensor([width, height, width, height], dtype=boxes.dtype)
        boxes = torch.minimum(boxes.clamp(min=0), limit)
        masks = self.masks
        if masks is not None:
            masks = torch.nn.functional.interpolate(masks[None].float(), size=image_size, mode="nearest-exact")[0] > 0.5
        return replace(self, boxes=boxes, image_size=image_size, masks=masks)


@dataclass(frozen=True, eq=False)
class Detections:
    """What a detector's own inference reported for one image, in the frame of that image.

    Args:
        boxes: XYXY in pixels.
        scores: in [0, 1], in the order the detector gave.
        labels: contiguous class numbers 0 ... K-1.
        image_size: (height, width) of the image.
        masks: boolean, pasted into the image, where the detector has them.
    """

    boxes: Float[Tensor, "object 4"]
    scores: Float[Tensor, " object"]
    labels: Int64[Tensor, " object"]
    image_size: tuple[int, int]
    masks: Bool[Tensor, "object height width"] | None = None

    def __post_init__(self) -> None:
        if not len(self.boxes) == len(self.scores) == len(self.labels):
            raise ValueError(
                f"boxes, scores and labels differ in length: {len(self.boxes)}, {len(self.scores)}, {len(self.labels)}"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def above(self, threshold: float) -> "Detections":
        """Only the detections with a score above `threshold`."""
        keep = self.scores > threshold
        masks = None if self.masks is None else self.masks[keep]
        return replace(self, boxes=self.boxes[keep], scores=self.scores[keep], labels=self.labels[keep], masks=masks)


def box_problem(box: list[float], height: int, width: int) -> str:
    """What is wrong with an XYXY box in an image of `height` x `width` pixels; empty if nothing is."""
    x0, y0, x1, y1 = box
    shown = "[" + ", ".join(f"{value:g}" for value in box) + "]"
    if not all(-1e9 < value < 1e9 for value in box):
        return f"box {shown} is not finite"
    if x1 <= x0 or y1 <= y0:
        return f"box {shown} is reversed or empty (expected x0 < x1 and y0 < y1)"
    edge = _BORDER_TOLERANCE
    if x0 < -edge or y0 < -edge or x1 > width + edge or y1 > height + edge:
        return f"box {shown} lies outside its image of {width} x {height} pixels"
    return ""
