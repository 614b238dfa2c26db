"""Gradients along the way from an image without content."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from detinv.attribution.core.forward import canvas_of
from detinv.attribution.core.objects import ExplainedObjects
from detinv.attribution.core.questions import Question
from detinv.attribution.core.versions import version_gradients
from detinv.attribution.methods.base import ImageMaps, ImageMethod
from detinv.detectors.base import AbstractDetector
from detinv.errors import ConfigError
from detinv.inputs.ranges import check_range


@dataclass(frozen=True)
class IntegratedGradients(ImageMethod):
    """Integrated gradients: pixel minus baseline, times the mean gradient on the straight line between the two.

    Rows and regions are held on the way. Signed: the sum over the pixels is the scalar's change from the baseline,
    but for the error of the sum.

    Args:
        steps: points on the line, at the middle of equal parts.
        baseline: "mean", the detector's mean colour; "black"; or "blur", the image itself with a Gaussian of a
            twentieth of its longer side.
        batch_size: images that pass through the network together.

    Source: Sundararajan et al. 2017, "Axiomatic Attribution for Deep Networks", section 3.

    Departures: the midpoint rule. For detectors nobody has agreed on a baseline.
    """

    steps: int = 50
    baseline: Literal["mean", "black", "blur"] = "mean"
    batch_size: int = 8
    signed: bool = True

    def __post_init__(self) -> None:
        check_range(self, "steps batch_size", 1)
        if self.baseline not in ("mean", "black", "blur"):
            raise ConfigError(f"baseline={self.baseline}: choose mean, black or blur")

    def explain(
        self,
        detector: AbstractDetector,
        image: Tensor,
        objects: ExplainedObjects,
        questions: Sequence[Question],
        seed: int,
    ) -> ImageMaps:
        pixels, frame, size = canvas_of(detector, image)
        start = self._baseline(detector, pixels, size)
        points = (torch.arange(self.steps, device=pixels.device) + 0.5) / self.steps
        total: Tensor | None = None
        for part in points.split(self.batch_size):
            versions = start + part[:, None, None, None] * (pixels - start)
            _, found = version_gradients(detector, versions, size, frame, objects, questions)
            total = found if total is None else total + found
        assert total is not None
        scalars = len(objects) * len(questions)
        return ImageMaps(((pixels - start)[0] * total / self.steps).sum(2), self.steps, self.steps * scalars)

    def _baseline(self, detector: AbstractDetector, pixels: Tensor, size: tuple[int, int]) -> Tensor:
        start = detector.pixel_mean[:, None, None].expand_as(pixels).clone()
        inside = pixels[..., : size[0], : size[1]]
        if self.baseline == "black":
            start[..., : size[0], : size[1]] = 0
        elif self.baseline == "blur":
            sigma = max(size) / 20
            radius = min(int(3 * sigma), min(size) - 1)
            start[..., : size[0], : size[1]] = gaussian_blur(inside, [2 * radius + 1] * 2, [sigma] * 2)
        return start
