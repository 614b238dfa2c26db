"""Parametrisations of a batch of images: what the optimiser moves, and the pixels it stands for.

Every image lives in centred units u = pixels - mean, in which zero is the detector's mean colour: learning rates,
regulariser weights and start noise mean the same for every detector.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from detinv.inversion.pixels.blur import gaussian_blur
from detinv.layouts.batch import LayoutBatch, canvas_size, slots_for
from detinv.layouts.layout import Layout
from detinv.runtime.seeds import layout_generator


class AbstractPixels(nn.Module, ABC):
    """Images under optimisation; its parameters are the only trained ones of an inversion.

    Args:
        batch: of the layouts wanted; gives sizes and ids.
        mean: (3,) the detector's mean colour, RGB in [0, 1].
        seed: of the start images; each layout draws its own.
        start_std: standard deviation of the start noise, in pixel units.

    Attributes:
        most_contrast: that `limit_contrast_` leaves; that of the detector's photographs where a layout is inverted.
    """

    most_contrast: float = math.inf
    mean: Tensor
    mask: Tensor
    image_sizes: Tensor

    def __init__(self, batch: LayoutBatch, mean: Float[Tensor, " 3"], seed: int, start_std: float) -> None:
        super().__init__()
        self.register_buffer("mean", mean.detach().clone().view(1, 3, 1, 1), persistent=False)
        self.register_buffer("mask", batch.pixel_mask(), persistent=False)
        self._full = batch.fills_canvas
        self.register_buffer("image_sizes", torch.tensor(batch.image_sizes), persistent=False)
        self.values = nn.Parameter(self._start(start_noise(batch, seed, start_std)))
        self.clamp_()

    @abstractmethod
    def _start(self, noise: Float[Tensor, "batch 3 height width"]) -> Tensor:
        """The parameter that stands for the start image `noise`."""

    @abstractmethod
    def centred(self) -> Float[Tensor, "batch 3 height width"]:
        """Pixels minus mean; zero beyond each image's own size. Differentiable."""

    @abstractmethod
    def clamp_(self) -> None:
        """Bring the parameter back to where the pixels lie in [0, 1]. Idempotent."""

    @abstractmethod
    def blur_(self, sigma: float) -> None:
        """Blur the images by a Gaussian of `sigma` pixels."""

    @abstractmethod
    def limit_contrast_(self) -> None:
        """Bring images of more contrast than `most_contrast` back to it; others keep every bit.

        The contrast is the root of the variance within an image, averaged over R, G and B.
        """

    def forward(self) -> Float[Tensor, "batch 3 height width"]:
        """RGB in [0, 1]; the mean colour beyond each image's own size."""
        return self.mean + self.centred()


def start_noise(batch: LayoutBatch, seed: int, std: float) -> Float[Tensor, "batch 3 height width"]:
    """Centred Gaussian noise for each layout, drawn at the layout's own size from the layout's own seed."""
    noise = torch.zeros(len(batch), 3, *batch.canvas_size)
    for row, (layout_id, (height, width)) in enumerate(zip(batch.ids, batch.image_sizes, strict=True)):
        generator = layout_generator(seed, layout_id, "start")
        noise[row, :, :height, :width] = std * torch.randn(3, height, width, generator=generator)
    return noise


class RawPixels(AbstractPixels):
    """The centred pixels themselves."""

    def _start(self, noise: Float[Tensor, "batch 3 height width"]) -> Tensor:
        return noise

    def centred(self) -> Float[Tensor, "batch 3 height width"]:
        return self.values if self._full else self.values * self.mask

    @torch.no_grad()
    def clamp_(self) -> None:
        self.values.copy_(torch.minimum(torch.maximum(self.values, -self.mean), 1 - self.mean))

    @torch.no_grad()
    def blur_(self, sigma: float) -> None:
        sizes = self.image_sizes[:1] if self._full else self.image_sizes
        self.values.copy_(gaussian_blur(self.values, sigma, sizes))

    @torch.no_grad()
    def limit_contrast_(self) -> None:
        count = self.image_sizes.prod(1).view(-1, 1, 1, 1)
        colour = self.centred().flatten(2).sum(2)[..., None, None] / count
        deviations = self.values - colour
        if not self._full:
            deviations *= self.mask
        variance = deviations.square().flatten(1).sum(1).view(-1, 1, 1, 1) / (3 * count)
        factor = self.most_contrast / variance.sqrt()
        # On a GPU, to ask would take longer than to write the same values again.
        if self.values.device.type != "cpu" or bool((factor < 1).any()):
            self.values.copy_(torch.where(factor < 1, colour + deviations * factor, self.values))


def batches_by_canvas(layouts: Sequence[Layout], divisor: int, batch_size: int) -> list[list[int]]:
    """Group indices of layouts into batches of one canvas size, one number of object slots, and masks for all or none.

    So no image depends on another's padding or number of objects, and none loses its masks to one without.
    """
    groups: dict[tuple[int, int, bool, int], list[int]] = {}
    for index, layout in enumerate(layouts):
        canvas = canvas_size([layout.image_size], divisor)
        key = (*canvas, layout.masks is not None, slots_for(len(layout)))
        groups.setdefault(key, []).append(index)
    return [
        members[start : start + batch_size]
        for members in groups.values()
        for start in range(0, len(members), batch_size)
    ]
