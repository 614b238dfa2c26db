"""What every control is."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from detinv.attribution.core.forward import canvas_of
from detinv.attribution.core.objects import ExplainedObjects
from detinv.attribution.core.questions import Question
from detinv.attribution.methods.base import ImageMaps, ImageMethod
from detinv.detectors.base import AbstractDetector


class AbstractControl(ImageMethod):
    """A map made without a look at what the network computes, the same for every question."""

    @torch.no_grad()
    def explain(
        self,
        detector: AbstractDetector,
        image: UInt8[Tensor, "3 height width"],
        objects: ExplainedObjects,
        questions: Sequence[Question],
        seed: int,
    ) -> ImageMaps:
        """See `ImageMethod`; no image passes through the network."""
        pixels, frame, _ = canvas_of(detector, image)
        maps = self.maps(pixels[0], frame.to_canvas(objects.boxes).to(pixels), seed)
        return ImageMaps(maps[:, None].expand(-1, len(questions), -1, -1).clone(), 0, 0)

    @abstractmethod
    def maps(
        self, canvas: Float[Tensor, "3 height width"], boxes: Float[Tensor, "object 4"], seed: int
    ) -> Float[Tensor, "object height width"]:
        """Return the map of each object.

        Args:
            canvas: RGB in [0, 1].
            boxes: XYXY on the canvas.
            seed: of what is random.
        """
