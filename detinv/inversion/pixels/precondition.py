"""Gradients reshaped to the statistics of photographs: coarse structure before fine, usual colours before unusual ones.

Without it, steps of equal size for every pixel draw fine, colourful noise, which is what networks differ in most. What
coarse structure and usual colours can say is said by them first, and other detectors read it as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from detinv.detectors.colours import COCO_COLOURS, ColourCovariance
from detinv.inputs.ranges import check_range
from detinv.inputs.torch_settings import sent


@dataclass(frozen=True)
class Preconditioner:
    """Multiplies a gradient by the covariance of photographs, in space and between the colours.

    That is steepest descent in the coefficients of a basis in which photographs are white; but the pixels stay the
    parameters, so that they can be clamped and blurred as they are. Each image is treated within its own size, as if it
    went on periodically.

    Args:
        power: of the wavelength in the amplitude of photographs' components, 1 for natural images; the gradient is
            scaled by its square. 0 leaves the spectrum alone.
        colour: power of the colours' covariance; 0 leaves the colours alone.

    Source: Olah et al. 2017, "Feature Visualization", preconditioning. Departures: in the space of pixels; the colours'
    covariance is that of the detector's training images.

    Raises:
        ConfigError: for a number out of range.
    """

    power: float = 0.5
    colour: float = 1.0

    def __post_init__(self) -> None:
        check_range(self, "power colour")

    def __call__(
        self, gradient: Float[Tensor, "3 height width"], colours: ColourCovariance = COCO_COLOURS
    ) -> Float[Tensor, "3 height width"]:
        """Reshape the gradient of one image; white noise keeps its root mean square.

        Args:
            colours: covariance of R, G and B, in any unit.
        """
        if self.power:
            size = gradient.shape[-2:]
            transfer = _transfer(tuple(size), self.power, gradient.device)
            gradient = torch.fft.irfft2(torch.fft.rfft2(gradient) * transfer, s=size)
        if self.colour:
            gradient = torch.einsum("ij,jhw->ihw", _colours(colours, self.colour, gradient.device), gradient)
        return gradient


class Preconditioned(torch.autograd.Function):
    """The identity; reshapes the gradient of each image."""

    @staticmethod
    def forward(
        ctx: Any,
        images: Float[Tensor, "batch 3 height width"],
        preconditioner: Preconditioner,
        image_sizes: Sequence[tuple[int, int]],
        colours: ColourCovariance = COCO_COLOURS,
    ) -> Tensor:
        """Return `images`, each of which lies at the upper left of its canvas.

        Args:
            preconditioner: for the gradient.
            image_sizes: (height, width) of each image.
            colours: see `Preconditioner`.
        """
        ctx.preconditioner, ctx.image_sizes, ctx.colours = preconditioner, image_sizes, colours
        return images.view_as(images)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        reshaped = torch.zeros_like(gradient)
        # One by one: a transform of several at once rounds otherwise.
        for target, one, (height, width) in zip(reshaped, gradient, ctx.image_sizes, strict=True):
            target[:, :height, :width] = ctx.preconditioner(one[:, :height, :width], ctx.colours)
        return reshaped, None, None, None


@lru_cache(maxsize=64)
def _transfer(size: tuple[int, int], power: float, device: torch.device) -> Float[Tensor, "height frequency"]:
    """Factors of the spectrum of an image of (height, width), with a mean square of 1 over all frequencies.

    The mean counts as a wave as long as the longer side.
    """
    height, width = size
    squares = torch.fft.fftfreq(height)[:, None] ** 2 + torch.fft.fftfreq(width) ** 2
    factors = squares.clamp(min=1 / max(size) ** 2) ** -power
    factors = factors / factors.square().mean().sqrt()
    return sent(factors[:, : width // 2 + 1].contiguous(), device)


@lru_cache(maxsize=16)
def _colours(colours: ColourCovariance, power: float, device: torch.device) -> Float[Tensor, "3 3"]:
    """Powers of the colours' covariance, scaled to a mean square gain of 1."""
    values, vectors = torch.linalg.eigh(torch.tensor(colours))
    matrix = vectors * values.clamp(min=0) ** power @ vectors.T
    return sent(matrix * (3**0.5 / matrix.norm()), device)
