"""Random views of the image: the layout moves with the pixels, so the targets stay true.

What is read in every view cannot hang on a single pixel; that is what makes inversions transfer to other detectors.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from kornia.geometry.transform import warp_affine
from torch import Tensor

from detinv.inversion.seeds import layout_generator
from detinv.layouts.batch import LayoutBatch
from detinv.layouts.boxes import clip

# Uniform numbers drawn for each step: two shifts, flip, scale, brightness, contrast, and three colour gains.
_DRAWS = 9


@dataclass(frozen=True)
class Augmentation:
    """Which views are drawn; each ingredient is off at its default.

    Args:
        shift: largest shift along each axis, in pixels.
        flip: probability of a horizontal mirror image.
        scale: largest relative change of size, 0.1 for 0.9 to 1.1.
        brightness: largest offset, in units of [0, 1].
        contrast: largest relative change of the distance from the mean colour.
        colour: largest relative change of each channel on its own.
    """

    shift: float = 0.0
    flip: float = 0.0
    scale: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    colour: float = 0.0

    @property
    def moves_boxes(self) -> bool:
        """Whether views differ in geometry, so that what is known from the layout alone changes every step."""
        return bool(self.shift or self.flip or self.scale)

    @property
    def changes_colours(self) -> bool:
        """Whether views differ in brightness or colour."""
        return bool(self.brightness or self.contrast or self.colour)

    def draws(self, batch: LayoutBatch, steps: int, seed: int) -> Float[Tensor, "step batch draw"]:
        """Uniform numbers in [-1, 1) for all steps, each layout's from its own generator."""
        columns = [
            torch.rand(steps, _DRAWS, generator=layout_generator(seed, layout_id, "augmentation"))
            for layout_id in batch.ids
        ]
        return torch.stack(columns, dim=1) * 2 - 1

    def __call__(
        self,
        centred: Float[Tensor, "batch 3 height width"],
        mean: Float[Tensor, "1 3 1 1"],
        layouts: LayoutBatch,
        image_mask: Float[Tensor, "batch 1 height width"],
        draws: Float[Tensor, "batch draw"],
    ) -> tuple[Float[Tensor, "batch 3 height width"], LayoutBatch]:
        """One view of each image and the layout that holds in it.

        Args:
            centred: pixels minus mean; differentiable.
            mean: the detector's mean colour.
            layouts: in the frame of `centred`.
            image_mask: 1 inside each image.
            draws: one step's numbers.
        """
        if self.moves_boxes:
            centred, layouts = self._move(centred, layouts, draws)
            centred = centred * image_mask
        if self.changes_colours:
            gain = (1 + self.contrast * draws[:, 5, None]) * (1 + self.colour * draws[:, 6:9])
            offset = self.brightness * draws[:, 4]
            coloured = mean + centred * gain[..., None, None] + offset[:, None, None, None]
            centred = (coloured.clamp(0, 1) - mean) * image_mask
        return centred, layouts

    def _move(
        self, centred: Float[Tensor, "batch 3 height width"], layouts: LayoutBatch, draws: Float[Tensor, "batch draw"]
    ) -> tuple[Float[Tensor, "batch 3 height width"], LayoutBatch]:
        sizes = torch.tensor(layouts.image_sizes, device=centred.device, dtype=centred.dtype)
        limits = sizes.flip(1)
        factor = 1 + self.scale * draws[:, 3]
        mirror = torch.where((draws[:, 2] + 1) / 2 < self.flip, -1.0, 1.0)
        scale = torch.stack([factor * mirror, factor], dim=1)
        # Boxes use edge coordinates: the image's centre stays where it is, but for the shift.
        offset = limits / 2 * (1 - scale) + self.shift * draws[:, :2]
        # The warp counts pixel centres, half a pixel off.
        matrix = torch.zeros(len(centred), 2, 3, device=centred.device, dtype=centred.dtype)
        matrix[:, 0, 0], matrix[:, 1, 1] = scale[:, 0], scale[:, 1]
        matrix[:, :, 2] = offset + 0.5 * (scale - 1)
        canvas = layouts.canvas_size
        moved = warp_affine(centred, matrix, canvas, padding_mode="zeros", align_corners=True)

        corners = layouts.boxes.view(len(centred), -1, 2, 2) * scale[:, None, None] + offset[:, None, None]
        boxes = torch.cat([corners.amin(2), corners.amax(2)], dim=-1)
        boxes = clip(boxes, limits[:, None].expand(-1, boxes.shape[1], -1))
        # A box pushed beyond the border keeps a pixel, so that it stays a box.
        low = torch.minimum(boxes[..., :2], limits[:, None] - 1)
        boxes = torch.cat([low, torch.maximum(boxes[..., 2:], low + 1)], dim=-1)
        masks = layouts.masks
        if masks is not None:
            masks = warp_affine(masks.float(), matrix, canvas, mode="nearest", padding_mode="zeros") > 0.5
        return moved, replace(layouts, boxes=boxes, masks=masks)
