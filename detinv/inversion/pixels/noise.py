"""White noise that is added to an image, another one in every view."""

import torch
from jaxtyping import Float
from torch import Tensor

from detinv.layouts.batch import LayoutBatch
from detinv.runtime.seeds import layout_generator


class WhiteNoise:
    """Noise for each view of each image; moves between devices by `to`.

    One field is drawn for each image, and every view has it moved by another distance, periodically: moved white noise
    has nothing in common with itself. So nothing is drawn, or sent to the device, in a step.

    Args:
        deviation: standard deviation, in units of [0, 1].
        layouts: of the images; each has noise of its own, whatever its batch.
        views: their number.
        seed: of the run.
    """

    def __init__(self, deviation: float, layouts: LayoutBatch, views: int, seed: int) -> None:
        self._fields: list[Tensor] = []
        self._moves: list[list[list[int]]] = []
        for layout_id, size in zip(layouts.ids, layouts.image_sizes, strict=True):
            generator = layout_generator(seed, layout_id, "noise")
            self._fields.append(deviation * torch.randn(3, *size, generator=generator))
            distances = [torch.randint(length, (views,), generator=generator) for length in size]
            self._moves.append(torch.stack(distances, dim=1).tolist())

    def to(self, device: torch.device) -> None:
        """Move the fields to `device`."""
        self._fields = [field.to(device) for field in self._fields]

    def added(self, images: Float[Tensor, "batch 3 height width"], view: int) -> Float[Tensor, "batch 3 height width"]:
        """Add the noise of a view to images, each at the upper left of its canvas."""
        noise = torch.zeros_like(images)
        for target, field, moves in zip(noise, self._fields, self._moves, strict=True):
            height, width = field.shape[1:]
            target[:, :height, :width] = field.roll(moves[view], (1, 2))
        return images + noise
