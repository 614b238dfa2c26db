"""Random views of the image: the layout moves with the pixels, so the targets stay true.

What a detector sees in every view cannot depend on single pixels, which makes inversions transfer to other detectors.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from detinv.inputs.ranges import check_range
from detinv.inversion.pixels.moves import scale_images, shift_images
from detinv.inversion.pixels.noise import WhiteNoise
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
        shift: largest shift along each axis, in whole pixels.
        flip: probability of a horizontal mirror image.
        zoom: largest relative change of size, 0.1 for 0.9 to 1.1; rows and columns are left out or repeated.
        brightness: largest offset, in units of [0, 1].
        contrast: largest relative change of the distance from the mean colour.
        colour: largest relative change of each channel on its own.
        noise: standard deviation of white noise, in units of [0, 1].
        hold: steps for which a view is kept.
        until: share of the steps that are augmented; the rest sees the image as it is.
    """

    shift: int = 0
    flip: float = 0.0
    zoom: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    colour: float = 0.0
    noise: float = 0.0
    hold: int = 1
    until: float = 1.0

    def __post_init__(self) -> None:
        check_range(self, "hold", least=1)
        check_range(self, "flip zoom until", most=1)
        check_range(self, "shift brightness contrast colour noise")

    def only_shifts(self) -> "Augmentation":
        """Copy these options without anything but shifts."""
        return Augmentation(shift=self.shift, hold=self.hold, until=self.until)

    def views(self, layouts: LayoutBatch, steps: int, seed: int) -> "Views":
        """All views of a run, each layout's drawn from its own generator."""
        options = (self.shift, self.flip, self.zoom, self.brightness, self.contrast, self.colour, self.noise)
        count = -(-round(self.until * steps) // self.hold) if any(options) else 0
        columns = [
            torch.rand(count, _DRAWS, generator=layout_generator(seed, layout_id, "augmentation"))
            for layout_id in layouts.ids
        ]
        noise = WhiteNoise(self.noise, layouts, count, seed) if self.noise else None
        return Views(self, layouts, torch.stack(columns, dim=1) * 2 - 1, noise)


class Views:
    """The views of one run; moves between devices by `to`.

    Args:
        augmentation: which ingredients there are.
        layouts: as they are without a view.
        draws: uniform numbers in [-1, 1): view, image, ingredient.
        noise: of all views; None for none.
    """

    def __init__(
        self,
        augmentation: Augmentation,
        layouts: LayoutBatch,
        draws: Float[Tensor, "view batch draw"],
        noise: WhiteNoise | None,
    ) -> None:
        self.augmentation = augmentation
        self.layouts = layouts
        self._draws = draws
        self._noise = noise
        # Known on the host as well: slicing by numbers that lie on the device would wait for it.
        self._shifts: list[list[list[int]]] = self._whole(draws[..., :2]).int().tolist()
        self._full = layouts.fills_canvas
        self._current = -1
        self._viewed = layouts

    def to(self, device: torch.device) -> None:
        """Move layouts and draws to `device`."""
        self.layouts = self._viewed = self.layouts.to(device)
        self._draws = self._draws.to(device)
        if self._noise is not None:
            self._noise.to(device)
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
        scales = _scales(options, draw) if options.flip or options.zoom else None
        if scales is not None:
            centred = scale_images(centred, scales, self.layouts.limits)
        if options.shift:
            centred = shift_images(centred, self._shifts[number])
            # What moved beyond an image's own size would be seen on its canvas.
            centred = centred if self._full else centred * mask
        if options.brightness or options.contrast or options.colour:
            gain = (1 + options.contrast * draw[:, 5, None]) * (1 + options.colour * draw[:, 6:9])
            offset = options.brightness * draw[:, 4, None, None, None]
            centred = ((mean + centred * gain[..., None, None] + offset).clamp(0, 1) - mean) * mask
        if self._noise is not None:
            centred = self._noise.added(centred, number)
        if number != self._current:
            shift = self._whole(draw[:, :2])
            self._viewed = _moved(self.layouts, scales, shift, self._shifts[number])
            self._current = number
        return centred, self._viewed

    def _whole(self, draws: Tensor) -> Tensor:
        most = self.augmentation.shift
        return (draws * (most + 0.5)).round().clamp(-most, most)


def _scales(options: Augmentation, draw: Draw) -> Float[Tensor, "batch 2"]:
    """Factors along x and y; a negative one mirrors."""
    factor = 1 + options.zoom * draw[:, 3]
    mirror = torch.where((draw[:, 2] + 1) / 2 < options.flip, -1.0, 1.0)
    return torch.stack([factor * mirror, factor], dim=1)


def _moved(
    layouts: LayoutBatch,
    scales: Float[Tensor, "batch 2"] | None,
    shift: Float[Tensor, "batch 2"],
    shifts: Sequence[Sequence[int]],
) -> LayoutBatch:
    """The layouts scaled, then shifted; `shifts` are the numbers in `shift`, on the host."""
    boxes, masks, limits = layouts.boxes, layouts.masks, layouts.limits[:, None]
    if scales is not None:
        corners = (boxes.unflatten(-1, (2, 2)) - limits[:, None] / 2) * scales[:, None, None] + limits[:, None] / 2
        boxes = torch.cat([corners.amin(-2), corners.amax(-2)], dim=-1)
        masks = None if masks is None else scale_images(masks, scales, layouts.limits)
    boxes = boxes + shift.repeat(1, 2)[:, None]
    masks = None if masks is None else shift_images(masks, shifts)
    boxes = clip(boxes, limits.expand(-1, boxes.shape[1], -1))
    # A box pushed beyond the border keeps a pixel, so that it stays a box.
    low = torch.minimum(boxes[..., :2], limits - 1)
    return replace(layouts, boxes=torch.cat([low, torch.maximum(boxes[..., 2:], low + 1)], dim=-1), masks=masks)
