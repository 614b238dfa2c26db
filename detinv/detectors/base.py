"""The contract every detector meets: pixels to raw predictions, and images to detections."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from detinv.detectors.colours import COCO_COLOURS, COCO_CONTRAST, ColourCovariance
from detinv.detectors.feature_layers import FeatureLayer, HeadName
from detinv.detectors.heads.predictions import Predictions
from detinv.detectors.heads.window import HeadWindow
from detinv.detectors.probing import ModuleOutput, module_outputs, probed_layers, probed_levels
from detinv.detectors.regions import Regions
from detinv.errors import DetectorError
from detinv.inputs.images import eight_bit_images
from detinv.layouts.batch import canvas_size
from detinv.layouts.layout import Detections
from detinv.types import Pixels

PROBE_SIZE = (128, 128)
"""(height, width) of the image with which a network of any input size is tried."""
_DECLARE = "declare level_layers, a FeatureLayer for each level"


class AbstractDetector(nn.Module, ABC):
    """A frozen detector: in evaluation mode, with no parameter that requires a gradient.

    Subclasses own a library's model, call its public parts and never patch it. They set, in `__init__`:

        class_names: names of the classes 0 ... K-1, without background and unused columns.
        pixel_mean: buffer (3,), RGB in [0, 1]: the colour that preprocessing maps to zero, the value of padding.
        size_divisor: canvases handed to `forward` have sides that are multiples of it.
        detections_per_image: most detections `detect` can return for one image.

    Attributes:
        trained_on_photographs: whether photographs are what it knows; inversions then get their statistics where the
            preset asks for it. False for drawings, plots and the like.
        colour_covariance: of R, G and B within its training images, (3, 3), in any unit; COCO's where nothing is said.
        contrast: root of the variance within a training image, averaged over R, G, B and images, in units of [0, 1];
            COCO's where nothing is said.
        depends_on_batch: whether, on the CPU, an image's last bits depend on the others of its batch even where each
            layer uses the same code for all of them; inversions then run each image alone.
    """

    class_names: tuple[str, ...]
    pixel_mean: Tensor
    size_divisor: int
    detections_per_image: int
    trained_on_photographs: bool = True
    colour_covariance: ColourCovariance = COCO_COLOURS
    contrast: float = COCO_CONTRAST
    depends_on_batch: bool = False
    _layers: tuple[FeatureLayer, ...] | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        """Have what every subclass's `detect` is given and returns checked, whoever has written it."""
        super().__init_subclass__(**options)
        owner = next(one for one in cls.__mro__ if "detect" in vars(one))
        if owner is cls or not issubclass(owner, AbstractDetector):
            cls.detect = _checked_detect(cls.detect)  # type: ignore[method-assign]

    def freeze(self) -> None:
        """Switch to evaluation mode and require no gradients, for good; subclasses call it at the end of `__init__`."""
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "AbstractDetector":
        """Stay in evaluation mode, whatever `mode` a trainer passes."""
        return super().train(False)

    @property
    def device(self) -> torch.device:
        """The device that holds the detector."""
        return self.pixel_mean.device

    @property
    def has_masks(self) -> bool:
        """Whether `forward` returns mask logits and `detect` masks."""
        return False

    def drop_unused_outputs(self) -> None:
        """Stop computing outputs that `forward` discards; called only on copies used for `forward` alone."""

    def avoid_waits(self) -> None:
        """Compute without waiting for the device; called only on such copies, on other devices than the CPU."""

    @abstractmethod
    def network_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Return (height, width) to which the library's preprocessing resizes an image of `image_size`.

        Applied to its own result it changes nothing, so that an image of that size is not resampled by `detect`.
        """

    def network_image(self, image: UInt8[Tensor, "3 height width"]) -> Float[Tensor, "3 _ _"]:
        """Return an 8-bit image as the network receives it: in [0, 1], resized, on the detector's device.

        The default resizes to `network_size`, bilinearly with antialiasing. Adapters whose library resizes in another
        way do the same here, so that raw predictions of the result are those from which `detect` reports.
        """
        pixels = image.to(self.device).float() / 255
        size = self.network_size((image.shape[1], image.shape[2]))
        if (image.shape[1], image.shape[2]) == size:
            return pixels
        return F.interpolate(pixels[None], size, mode="bilinear", align_corners=False, antialias=True)[0]

    def boxes_in_image(
        self, boxes: Float[Tensor, "*rows 4"], network_size: tuple[int, int], image_size: tuple[int, int]
    ) -> Float[Tensor, "*rows 4"]:
        """Convert boxes from pixels of the network's input to pixels of the image.

        Args:
            boxes: XYXY.
            network_size: (height, width) of the result of `network_image`.
            image_size: (height, width) of the image.
        """
        return boxes * boxes.new_tensor([image_size[1] / network_size[1], image_size[0] / network_size[0]] * 2)

    @abstractmethod
    def forward(
        self,
        pixels: Pixels,
        image_sizes: Sequence[tuple[int, int]] | None = None,
        regions: Regions | None = None,
    ) -> Predictions:
        """Return raw predictions, with gradient to the pixels.

        Args:
            pixels: RGB in [0, 1] on a canvas whose sides are multiples of `size_divisor`; beyond an image's own
                size the canvas has the colour `pixel_mean`.
            image_sizes: (height, width) of each image on its canvas, at its upper left; by default the whole canvas.
            regions: boxes at which a second stage, where there is one, is evaluated in addition to its own proposals
                or, if they are `alone`, instead of them; by default none.
        """

    @abstractmethod
    def detect(self, images: Sequence[UInt8[Tensor, "3 height width"]]) -> list[Detections]:
        """Run the library's own, unmodified inference on 8-bit RGB images, by which alone results are judged.

        Boxes and masks are in pixels of each image, on the CPU.

        Images and result are checked for all subclasses.

        Raises:
            ConfigError: for images of another kind, such as floats in [0, 1], which would be read as nearly black.
            DetectorError: when a subclass returns anything but `Detections` of each image's size.
        """

    def feature_layers(self) -> tuple[FeatureLayer, ...]:
        """Return where features can be captured: stages of the backbone, levels of the neck, regions; finest first.

        They are found in one forward pass on noise, and cached. All of them are computed by `forward`, and are what
        `detinv.detectors.hooks.capture_features` accepts.
        """
        if self._layers is None:
            outputs, predictions = self._probe()
            self._layers = tuple(self._find_layers(outputs, predictions))
        return self._layers

    def level_layers(self, head: HeadName = "dense") -> tuple[FeatureLayer, ...]:
        """Return the layer that each level of a head receives, finest first.

        The default takes the last feature layer whose stride is that of the level's anchors. Rows of a set prediction
        whose anchors are the whole canvas are of no cell; they take the last layer of all.

        Args:
            head: "dense", the one-stage head, the proposal head or the queries; "roi", the second stage; or "encoder".

        Raises:
            DetectorError: when the detector has no such head, or its layers are not known.
        """
        if head != "dense":
            raise DetectorError(f"{type(self).__name__}: the layers of head {head!r} are not known; {_DECLARE}")
        canvas = canvas_size([self._probe_size()], self.size_divisor)
        with torch.no_grad():
            constants = self(self.pixel_mean[:, None, None].repeat(1, 1, *canvas)).dense.head
        layers = self.feature_layers()
        whole = constants.anchors.new_tensor([0, 0, canvas[1], canvas[0]])
        if layers and constants.assigner is None and bool((constants.anchors == whole).all()):
            return layers[-1:] * len(constants.level_sizes)
        try:
            return tuple(probed_levels(layers, constants.strides_on(canvas)))
        except LookupError as error:
            raise DetectorError(f"{type(self).__name__}: {error} for the dense head; {_DECLARE}") from error

    def head_window(self) -> HeadWindow | None:
        """Return how to run the dense head on windows of the levels in `level_layers`; None where that is not known.

        What a row says depends on such a window alone, so that its gradients are found there, in a fraction of the
        time. Without it they are the same.
        """
        return None

    def row_levels(self, predictions: Predictions, head: HeadName = "dense") -> Int64[Tensor, "batch row"]:
        """Return the number of the level, in `level_layers`, that each row of a head was predicted from.

        Raises:
            DetectorError: when the predictions have no such head.
        """
        if head == "roi" and predictions.roi is not None:
            return predictions.roi.levels
        part = predictions.dense if head == "dense" else predictions.encoder
        if head == "roi" or part is None:
            raise DetectorError(f"{type(self).__name__}: the predictions have no head {head!r}")
        return part.head.levels.expand(len(part.logits), -1)

    def layer_of_row(self, predictions: Predictions, image: int, row: int, head: HeadName = "dense") -> FeatureLayer:
        """Return the layer that one row of one image was predicted from.

        Raises:
            DetectorError: when the predictions have no such head, or its layers are not known.
        """
        return self.level_layers(head)[int(self.row_levels(predictions, head)[image, row])]

    def _find_layers(self, outputs: Sequence[ModuleOutput], predictions: Predictions) -> Iterable[FeatureLayer]:
        """Return the feature layers among what all modules returned in one pass; adapters say which they are."""
        return probed_layers(outputs, predictions.outputs())

    def _probe_size(self) -> tuple[int, int]:
        """(height, width) of the image with which feature layers are found."""
        return self.network_size(PROBE_SIZE)

    @torch.no_grad()
    def _probe(self) -> tuple[list[ModuleOutput], Predictions]:
        """Return what all modules returned for one image of noise, and the raw predictions."""
        canvas = canvas_size([self._probe_size()], self.size_divisor)
        pixels = torch.rand(1, 3, *canvas, generator=torch.Generator().manual_seed(0)).to(self.device)
        regions = Regions.of(pixels.new_tensor([[[0.0, 0.0, canvas[1] / 2, canvas[0] / 2]]]))
        found: list[Predictions] = []
        outputs = module_outputs(self, canvas, lambda: found.append(self.forward(pixels, regions=regions)))
        return outputs, found[0]


def _checked_detect(detect: Callable[..., list[Detections]]) -> Callable[..., list[Detections]]:
    """Return `detect` such that it is called with a list of 8-bit RGB images, and gives detections for each of them."""

    @wraps(detect)
    def checked(self: AbstractDetector, images: Iterable[Any], *others: Any, **options: Any) -> list[Detections]:
        given = eight_bit_images(images)
        found = detect(self, given, *others, **options)
        wanted = [(image.shape[1], image.shape[2]) for image in given]
        # None for what is something else.
        got = [getattr(one, "image_size", None) for one in found] if isinstance(found, list | tuple) else [None]
        if got != wanted:
            raise DetectorError(
                f"{type(self).__name__}.detect returned {_listed(found)} for images of {wanted}; it must return a list "
                "with one Detections for each image, of its size"
            )
        return found

    return checked


def _listed(found: Any) -> str:
    """Return in words what stands where detections should."""
    if not isinstance(found, list | tuple):
        return f"a {type(found).__name__}"
    return f"[{', '.join(str(getattr(one, 'image_size', type(one).__name__)) for one in found)}]"
