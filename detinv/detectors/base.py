"""The contract every detector meets: pixels to raw predictions, and images to detections."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from detinv.detectors.heads.predictions import Predictions
from detinv.layouts.layout import Detections
from detinv.types import Pixels


class AbstractDetector(nn.Module, ABC):
    """A frozen detector: evaluation mode, no parameter asks for a gradient.

    Subclasses own a library's model, call its public parts and never patch it. They set, in `__init__`:

        class_names: names of the classes 0 ... K-1, without background and unused columns.
        pixel_mean: buffer (3,), RGB in [0, 1]: the colour that preprocessing turns into zeros, as padding is.
        size_divisor: canvases handed to `forward` have sides that are multiples of it.
        detections_per_image: most detections `detect` can return for one image.
    """

    class_names: tuple[str, ...]
    pixel_mean: Tensor
    size_divisor: int
    detections_per_image: int

    def freeze(self) -> None:
        """Evaluation mode and no gradient to any parameter, for good; subclasses call it when they are complete."""
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "AbstractDetector":
        """Stays in evaluation mode, whatever a trainer asks for."""
        return super().train(False)

    @property
    def has_masks(self) -> bool:
        """Whether `forward` gives mask logits and `detect` masks."""
        return False

    def drop_unused_outputs(self) -> None:
        """Stop computing what `forward` throws away. Asked only of a copy that does nothing but `forward`."""

    @abstractmethod
    def network_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) to which the library's preprocessing resizes an image of `image_size`.

        Applying it twice changes nothing, so an image of that size is judged without resampling.
        """

    @abstractmethod
    def forward(
        self,
        pixels: Pixels,
        image_sizes: Sequence[tuple[int, int]],
        rois: Float[Tensor, "batch object 4"],
        rois_valid: Bool[Tensor, "batch object"],
    ) -> Predictions:
        """Raw predictions, with gradient to the pixels.

        Args:
            pixels: RGB in [0, 1] on a canvas whose sides are multiples of `size_divisor`; beyond an image's own
                size the canvas holds `pixel_mean`.
            image_sizes: (height, width) of each image on its canvas, at its upper left.
            rois: boxes at which a second stage, where there is one, is evaluated besides its own proposals.
            rois_valid: false for rows that only fill up.
        """

    @abstractmethod
    def detect(self, images: Sequence[UInt8[Tensor, "3 height width"]]) -> list[Detections]:
        """The library's own, untouched inference on 8-bit RGB images: the only thing results are judged by.

        Boxes and masks come back in each image's own pixels, on the CPU.
        """
