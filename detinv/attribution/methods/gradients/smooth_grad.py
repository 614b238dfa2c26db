"""The mean gradient of noisy versions of the image."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from detinv.attribution.core.forward import canvas_of
from detinv.attribution.core.objects import ExplainedObjects
from detinv.attribution.core.questions import Question
from detinv.attribution.core.versions import version_gradients
from detinv.attribution.methods.base import ImageMaps, ImageMethod
from detinv.detectors.base import AbstractDetector
from detinv.inputs.ranges import check_range


@dataclass(frozen=True)
class SmoothGrad(ImageMethod):
    """The absolute value of the mean gradient over noisy images, largest over the colours. Rows and regions are held.

    Args:
        samples: how many noisy images.
        noise: standard deviation as a fraction of the range of the image's values.
        batch_size: images that pass through the network together.

    Source: Smilkov et al. 2017, "SmoothGrad", sections 2.2 and 3.2.

    Departures: none.
    """

    samples: int = 50
    noise: float = 0.15
    batch_size: int = 8

    def __post_init__(self) -> None:
        check_range(self, "samples batch_size", 1)
        check_range(self, "noise", above=True)

    def explain(
        self,
        detector: AbstractDetector,
        image: Tensor,
        objects: ExplainedObjects,
        questions: Sequence[Question],
        seed: int,
    ) -> ImageMaps:
        pixels, frame, size = canvas_of(detector, image)
        inside = pixels[..., : size[0], : size[1]]
        sigma = self.noise * (inside.max() - inside.min())
        generator = torch.Generator().manual_seed(seed)
        total: Tensor | None = None
        for start in range(0, self.samples, self.batch_size):
            count = min(self.batch_size, self.samples - start)
            noise = torch.zeros(count, *pixels.shape[1:])
            # One image at a time, so that batches of any size see the same noise.
            for sample in noise:
                sample[..., : size[0], : size[1]] = torch.randn(3, *size, generator=generator)
            versions = pixels + noise.to(pixels) * sigma
            _, found = version_gradients(detector, versions, size, frame, objects, questions)
            total = found if total is None else total + found
        assert total is not None
        scalars = len(objects) * len(questions)
        return ImageMaps((total / self.samples).abs().amax(2), self.samples, self.samples * scalars)
