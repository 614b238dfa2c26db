"""Layouts of one batch, padded to the same number of objects and put on one canvas."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from detinv.errors import LayoutError
from detinv.layouts.layout import Layout


def canvas_size(image_sizes: Sequence[tuple[int, int]], divisor: int) -> tuple[int, int]:
    """Return (height, width) of the smallest canvas that holds every image and has sides that `divisor` divides."""
    height, width = (max(sides) for sides in zip(*image_sizes, strict=True))
    return math.ceil(height / divisor) * divisor, math.ceil(width / divisor) * divisor


def slots_for(objects: int) -> int:
    """Choose how many object slots a layout gets: the next power of two, at least 4.

    The order of some sums depends on the number of slots, and with it the last bits of an image. So it follows from the
    layout alone, and layouts of about as many objects share batches.
    """
    return max(4, 1 << (objects - 1).bit_length()) if objects else 4


@lru_cache(maxsize=64)
def size_limits(image_sizes: tuple[tuple[int, int], ...], device: torch.device) -> Float[Tensor, "batch 2"]:
    """Return (width, height) of each image; cached, because copying numbers to a device makes it wait."""
    with torch.inference_mode(False):
        return torch.tensor([(width, height) for height, width in image_sizes], dtype=torch.float32, device=device)


@dataclass(frozen=True)
class LayoutBatch:
    """B layouts with M object slots each.

    Args:
        boxes: XYXY in pixels; empty slots have the unit box at the origin.
        labels: class numbers; 0 in empty slots.
        valid: whether a slot holds an object.
        canvas_size: (height, width) shared by the batch; every layout is at its upper left.
        image_sizes: (height, width) of each layout.
        ids: names of the layouts.
        masks: on the canvas; present only if every layout with objects has masks.
    """

    boxes: Float[Tensor, "batch object 4"]
    labels: Int64[Tensor, "batch object"]
    valid: Bool[Tensor, "batch object"]
    canvas_size: tuple[int, int]
    image_sizes: tuple[tuple[int, int], ...]
    ids: tuple[str, ...]
    masks: Bool[Tensor, "batch object height width"] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def collate(cls, layouts: Sequence[Layout], divisor: int = 1, slots: int | None = None) -> "LayoutBatch":
        """Pad `layouts` to a common number of objects and a canvas whose sides are multiples of `divisor`.

        Args:
            slots: number of object slots, at least the largest layout's; by default just that (and at least 1).
        """
        if not layouts:
            raise LayoutError("a batch needs at least one layout")
        count = max([1, *(len(layout) for layout in layouts)])
        if slots is not None:
            if slots < count:
                raise LayoutError(f"{count} objects do not fit into {slots} slots")
            count = slots
        height, width = canvas_size([layout.image_size for layout in layouts], divisor)
        size = len(layouts)
        boxes = torch.tensor([0.0, 0.0, 1.0, 1.0]).repeat(size, count, 1)
        labels = torch.zeros(size, count, dtype=torch.int64)
        valid = torch.zeros(size, count, dtype=torch.bool)
        masked = any(layout.masks is not None for layout in layouts) and all(
            layout.masks is not None or len(layout) == 0 for layout in layouts
        )
        masks = torch.zeros(size, count, height, width, dtype=torch.bool) if masked else None
        for row, layout in enumerate(layouts):
            n = len(layout)
            boxes[row, :n], labels[row, :n], valid[row, :n] = layout.boxes, layout.labels, True
            if masks is not None and layout.masks is not None:
                h, w = layout.image_size
                masks[row, :n, :h, :w] = layout.masks
        return cls(
            boxes,
            labels,
            valid,
            (height, width),
            tuple(layout.image_size for layout in layouts),
            tuple(layout.id for layout in layouts),
            masks,
        )

    def with_padding_row(self) -> "LayoutBatch":
        """Repeat the last layout at the end of the batch."""
        return type(self)(
            torch.cat([self.boxes, self.boxes[-1:]]),
            torch.cat([self.labels, self.labels[-1:]]),
            torch.cat([self.valid, self.valid[-1:]]),
            self.canvas_size,
            (*self.image_sizes, self.image_sizes[-1]),
            (*self.ids, self.ids[-1]),
            None if self.masks is None else torch.cat([self.masks, self.masks[-1:]]),
        )

    @property
    def fills_canvas(self) -> bool:
        """Whether every image is as large as its canvas; needs no device synchronisation."""
        return all(size == self.canvas_size for size in self.image_sizes)

    @cached_property
    def limits(self) -> Float[Tensor, "batch 2"]:
        """(width, height) of each image, on the device of the boxes."""
        return size_limits(self.image_sizes, self.boxes.device).to(self.boxes.dtype)

    def pixel_mask(self) -> Float[Tensor, "batch 1 height width"]:
        """1 inside each image, 0 on the rest of its canvas."""
        ys = torch.arange(self.canvas_size[0], device=self.boxes.device)
        xs = torch.arange(self.canvas_size[1], device=self.boxes.device)
        sizes = torch.tensor(self.image_sizes, device=self.boxes.device)
        inside = (ys[:, None] < sizes[:, 0, None, None]) & (xs < sizes[:, 1, None, None])
        return inside[:, None].float()

    def to(self, device: torch.device | str) -> "LayoutBatch":
        """The batch on another device."""
        masks = None if self.masks is None else self.masks.to(device)
        return type(self)(
            self.boxes.to(device),
            self.labels.to(device),
            self.valid.to(device),
            self.canvas_size,
            self.image_sizes,
            self.ids,
            masks,
        )
