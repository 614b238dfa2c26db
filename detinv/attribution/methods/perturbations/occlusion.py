"""What changes when a part of the image is covered."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from detinv.attribution.core.forward import canvas_of
from detinv.attribution.core.objects import ExplainedObjects
from detinv.attribution.core.questions import Question
from detinv.attribution.core.versions import version_scalars
from detinv.attribution.methods.base import ImageMaps, ImageMethod
from detinv.detectors.base import AbstractDetector
from detinv.inputs.ranges import check_range


@dataclass(frozen=True)
class Occlusion(ImageMethod):
    """How much lower the scalar is when a square in the mean colour covers a place, averaged over the squares that do.

    Signed: negative where covering raises the scalar. Rows and regions are held.

    Args:
        side: of the square, as a fraction of the longer side of the network's input.
        stride: of its places, as a fraction of `side`.
        batch_size: images that pass through the network together.

    Source: Zeiler & Fergus 2014, "Visualizing and Understanding Convolutional Networks", section 4.2.

    Departures: the map is the drop, not what remains.
    """

    side: float = 0.125
    stride: float = 0.5
    batch_size: int = 16
    signed: bool = True

    def __post_init__(self) -> None:
        check_range(self, "side stride", 0.0, 1.0, above=True)
        check_range(self, "batch_size", 1)

    @torch.no_grad()
    def explain(
        self,
        detector: AbstractDetector,
        image: Tensor,
        objects: ExplainedObjects,
        questions: Sequence[Question],
        seed: int,
    ) -> ImageMaps:
        pixels, frame, size = canvas_of(detector, image)
        side = max(1, round(self.side * max(size)))
        stride = max(1, round(self.stride * side))
        before = version_scalars(detector, pixels, size, frame, objects, questions)[0]
        colour = detector.pixel_mean[:, None, None]
        tops, lefts = (range(stride - side, length, stride) for length in size)
        places = [(top, left) for top in tops for left in lefts]
        total = torch.zeros(*before.shape, *pixels.shape[2:], device=pixels.device)
        covered = torch.zeros(pixels.shape[2:], device=pixels.device)
        for start in range(0, len(places), self.batch_size):
            part = places[start : start + self.batch_size]
            versions = pixels.repeat(len(part), 1, 1, 1)
            windows = [
                (slice(max(top, 0), min(top + side, size[0])), slice(max(left, 0), min(left + side, size[1])))
                for top, left in part
            ]
            for version, (rows, columns) in zip(versions, windows, strict=True):
                version[:, rows, columns] = colour
            drop = before - version_scalars(detector, versions, size, frame, objects, questions)
            for one, (rows, columns) in zip(drop, windows, strict=True):
                total[..., rows, columns] += one[..., None, None]
                covered[rows, columns] += 1
        return ImageMaps(total / covered.clamp(min=1), 1 + len(places), 0)
