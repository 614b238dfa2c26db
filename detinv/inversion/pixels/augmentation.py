"""Random views of the image: the layout moves with the pixels, so the targets stay true.

What a detector sees in every view cannot depend on single pixels, which makes inversions transfer to other detectors.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from kornia.geometry.transform import warp_affine
from torch import Tensor

from detinv.inputs.ranges import check_range
from detinv.layouts.batch import LayoutBatch
from detinv.layouts.boxes import clip
from detinv.runtime.seeds import layout_generator

Centred = Float[Tensor, "batch 3 height width"]
Draw = Float[Tensor, "batch draw"]

# Uniform numbers of a view: two shifts, flip, zoom, brightness, contrast, and three colour gains.
_DRAWS = 9


@dataclass(frozen=True)
class Augmentation:
    """Which views are drawn; each ingredient is off at its default.

    Args:
        shift: largest shift along each axis, in whole pixels; nothing is interpolated.
        flip: probability of a horizontal mirror image.
        zoom: largest relative change of size, 0.1 for 0.9 to 1.1.
        brightness: largest offset, in units of [0, 1].
        contrast: largest relative change of the distance from the mean colour.
        colour: largest relative change of each channel on its own.
        hold: steps for which a view is kept.
        until: share of the steps that are augmented; the rest sees the image as it is.
    """

    shift: int = 0
    flip: float = 0.0
    zoom: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    colour: float = 0.0
    hold: int = 1
    until: float = 1.0

    def __post_init__(self) -> None:
        check_range(self, "hold", least=1)
        check_range(self, "flip zoom until", most=1)
        check_range(self, "shift brightness contrast colour")

    def views(self, layouts: LayoutBatch, steps: int, seed: int) -> "Views":
        """All views of a run, each layout's drawn from its own generator."""
        any_on = self.shift or self.flip or self.zoom or self.brightness or self.contrast or self.colour
        count = -(-round(self.until * steps) // self.hold) if any_on else 0
        columns = [
            torch.rand(count, _DRAWS, generator=layout_generator(seed, layout_id, "augmentation"))
            for layout_id in layouts.ids
        ]
        return Views(self, layouts, torch.stack(columns, dim=1) * 2 - 1)


class Views:
    """The views of one run; moves between devices by `to`.

    Args:
        augmentation: which ingredients there are.
        layouts: as they are without a view.
        draws: uniform numbers in [-1, 1): view, image, ingredient.
    """

    def __init__(
        self, augmentation: Augmentation, layouts: LayoutBatch, draws: Float[Tensor, "view batch draw"]
    ) -> None:
        self.augmentation = augmentation
        self.layouts = layouts
        self._draws = draws
        # Known on the host as well: slicing by numbers that lie on the device would wait for it.
        self._shifts: list[list[list[int]]] = self._whole(draws[..., :2]).int().tolist()
        self._full = layouts.fills_canvas
        self._current = -1
        self._viewed = layouts

    def to(self, device: torch.device) -> None:
        """Move layouts and draws to `device`."""
        self.layouts = self._viewed = self.layouts.to(device)
        self._draws = self._draws.to(device)
        self._current = -1

    def at(
        self, step: int, centred: Centred, mean: Float[Tensor, "1 3 1 1"], mask: Tensor
    ) -> tuple[Centred, LayoutBatch]:
        """What the detector is shown at `step`, and the layouts that hold in it.

        The layouts are the very same object for as long as a view is kept.

        Args:
            centred: pixels minus mean; differentiable.
            mean: the detector's mean colour.
            mask: (batch, 1, height, width), 1 inside each image.
        """
        number = step // self.augmentation.hold
        if number >= len(self._draws):
            return centred, self.layouts
        options, draw = self.augmentation, self._draws[number]
        matrix = _warp_matrix(options, self.layouts, draw) if options.flip or options.zoom else None
        if matrix is not None:
            size = self.layouts.canvas_size
            centred = warp_affine(centred, matrix, size, padding_mode="zeros", align_corners=True) * mask
        if options.shift:
            centred = _Shift.apply(centred, self._shifts[number])
            # What moved beyond an image's own size would be seen on its canvas.
            centred = centred if self._full else centred * mask
        if options.brightness or options.contrast or options.colour:
            gain = (1 + options.contrast * draw[:, 5, None]) * (1 + options.colour * draw[:, 6:9])
            offset = options.brightness * draw[:, 4, None, None, None]
            centred = ((mean + centred * gain[..., None, None] + offset).clamp(0, 1) - mean) * mask
        if number != self._current:
            shift = self._whole(draw[:, :2])
            self._viewed = _moved(self.layouts, matrix, shift, self._shifts[number])
            self._current = number
        return centred, self._viewed

    def _whole(self, draws: Tensor) -> Tensor:
        most = self.augmentation.shift
        return (draws * (most + 0.5)).round().clamp(-most, most)


def _shifted(images: Tensor, shifts: Sequence[Sequence[int]]) -> Tensor:
    """Each image moved right and down by whole pixels; what comes in is zero."""
    height, width = images.shape[-2:]
    moved = torch.zeros_like(images)
    for source, target, (right, down) in zip(images.unbind(0), moved.unbind(0), shifts, strict=True):
        rows, columns = height - abs(down), width - abs(right)
        top, left = max(down, 0), max(right, 0)
        target[:, top : top + rows, left : left + columns] = source[
            :, top - down : top - down + rows, left - right : left - right + columns
        ]
    return moved


class _Shift(torch.autograd.Function):
    """`_shifted`, whose gradient is shifted back: half the time of what slices and pads give by themselves."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, shifts: Sequence[Sequence[int]]) -> Tensor:
        ctx.back = [[-right, -down] for right, down in shifts]
        return _shifted(images, shifts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _shifted(gradient, ctx.back), None


def _warp_matrix(options: Augmentation, layouts: LayoutBatch, draw: Draw) -> Float[Tensor, "batch 2 3"]:
    """Mirror and scale about each image's centre, in the warp's coordinates, which count pixel centres."""
    factor = 1 + options.zoom * draw[:, 3]
    mirror = torch.where((draw[:, 2] + 1) / 2 < options.flip, -1.0, 1.0)
    scale = torch.stack([factor * mirror, factor], dim=1)
    return torch.cat([torch.diag_embed(scale), ((layouts.limits - 1) / 2 * (1 - scale))[..., None]], dim=2)


def _moved(
    layouts: LayoutBatch,
    matrix: Float[Tensor, "batch 2 3"] | None,
    shift: Float[Tensor, "batch 2"],
    shifts: Sequence[Sequence[int]],
) -> LayoutBatch:
    """The layouts under warp and shift; `shifts` are the numbers in `shift`, on the host."""
    boxes, masks, size = layouts.boxes, layouts.masks, layouts.canvas_size
    if matrix is not None:
        scale = matrix[:, None, None].diagonal(dim1=-2, dim2=-1)
        corners = (boxes.unflatten(-1, (2, 2)) - 0.5) * scale + matrix[:, None, None, :, 2] + 0.5
        boxes = torch.cat([corners.amin(-2), corners.amax(-2)], dim=-1)
        if masks is not None:
            masks = warp_affine(masks.float(), matrix, size, mode="nearest", padding_mode="zeros") > 0.5
    boxes = boxes + shift.repeat(1, 2)[:, None]
    if masks is not None:
        masks = _shifted(masks, shifts)
    limits = layouts.limits[:, None]
    boxes = clip(boxes, limits.expand(-1, boxes.shape[1], -1))
    # A box pushed beyond the border keeps a pixel, so that it stays a box.
    low = torch.minimum(boxes[..., :2], limits - 1)
    return replace(layouts, boxes=torch.cat([low, torch.maximum(boxes[..., 2:], low + 1)], dim=-1), masks=masks)
