"""One forward pass of an image whose graph is kept, and the scalars of its objects."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from detinv.attribution.core.frames import Frame
from detinv.attribution.core.objects import ExplainedObjects
from detinv.attribution.core.questions import Question
from detinv.detectors.base import AbstractDetector
from detinv.detectors.canvas import on_canvas
from detinv.detectors.feature_layers import FeatureLayer
from detinv.detectors.heads.predictions import Predictions
from detinv.detectors.hooks import CapturedFeatures, capture_features
from detinv.detectors.regions import Regions
from detinv.detectors.rows import TargetRows
from detinv.detectors.targets import target_values
from detinv.errors import DetectorError


@dataclass(frozen=True)
class ForwardPass:
    """Raw predictions of one image, captured features, and the rows of the objects, with their graph.

    Args:
        pixels: the canvas, which requires a gradient where maps of the pixels are wanted.
        frame: where the image lies on it.
    """

    pixels: Float[Tensor, "1 3 _ _"]
    frame: Frame
    predictions: Predictions
    features: CapturedFeatures
    rows: TargetRows

    def scalars(self, questions: Sequence[Question]) -> Float[Tensor, "object question"]:
        """Return the answer to each question for each object, with gradient."""
        return scalars(self.predictions, self.rows, questions)


def scalars(
    predictions: Predictions, rows: TargetRows, questions: Sequence[Question]
) -> Float[Tensor, "*target question"]:
    """Return the answer to each question at each row.

    Raises:
        DetectorError: for a question that the detector cannot be asked; the message lists those that it can.
    """
    return torch.stack([target_values(predictions, rows, one.name, against=one.against) for one in questions], -1)


def canvas_of(
    detector: AbstractDetector, image: UInt8[Tensor, "3 height width"]
) -> tuple[Float[Tensor, "1 3 _ _"], Frame, tuple[int, int]]:
    """Return the canvas that the network receives for an image, its frame, and the size of the image on it."""
    network_image = detector.network_image(image)
    size = (network_image.shape[1], network_image.shape[2])
    pixels = on_canvas(detector, [network_image])
    frame = Frame.of(detector, (image.shape[1], image.shape[2]), size, (pixels.shape[2], pixels.shape[3]))
    return pixels, frame, size


def run_forward(
    detector: AbstractDetector,
    image: UInt8[Tensor, "3 height width"],
    objects: ExplainedObjects,
    questions: Sequence[Question],
    layers: Iterable[FeatureLayer] = (),
    with_pixels: bool = False,
) -> ForwardPass:
    """Run an image through the detector once, in fp32, with a graph from the layers or the pixels to the predictions.

    Args:
        image: 8-bit RGB.
        objects: of that image.
        questions: that will be asked about them.
        layers: to capture; see `detector.feature_layers`.
        with_pixels: whether a gradient of the pixels is wanted as well.

    Raises:
        DetectorError: when one is wanted, and there is none.
    """
    pixels, frame, size = canvas_of(detector, image)
    pixels.requires_grad_(with_pixels)
    regions = regions_of(objects, frame, questions, pixels)
    with (
        torch.enable_grad(),
        torch.autocast(detector.device.type, enabled=False),
        capture_features(detector, layers) as features,
    ):
        predictions = detector(pixels, [size], regions)
    if with_pixels or layers:
        predictions.check_gradient(detector)
    return ForwardPass(pixels, frame, predictions, features, rows_of(predictions, objects, frame))


def regions_of(
    objects: ExplainedObjects, frame: Frame, questions: Sequence[Question], versions: Float[Tensor, "version 3 _ _"]
) -> Regions | None:
    """Return the objects' regions on each version of the image; None where there is no second stage.

    The detector's own proposals, usually a thousand, are left out unless a question is about them.
    """
    if objects.regions is None:
        return None
    boxes = frame.to_canvas(objects.regions).to(versions)
    alone = all(question.name != "objectness" for question in questions)
    return Regions.of(boxes[None].expand(len(versions), -1, -1), alone)


def rows_of(predictions: Predictions, objects: ExplainedObjects, frame: Frame) -> TargetRows:
    """Return where this pass predicts the objects.

    Returns:
        Rows of shape (object,), or (image, object) where several versions of the image passed together.

    Raises:
        DetectorError: when a query of an object was not chosen in this pass.
    """
    device = predictions.dense.logits.device
    batch, count = len(predictions.dense.logits), len(objects)
    shape = (count,) if batch == 1 else (batch, count)
    images = torch.arange(batch, device=device).repeat_interleave(count).reshape(shape)
    labels = objects.labels.to(device).expand(shape)
    boxes = frame.to_canvas(objects.boxes).to(device).expand(*shape, 4)
    if predictions.roi is not None:
        regions = torch.arange(count, device=device).expand(shape)
        return TargetRows(images, regions, labels, True, _anchors(predictions, objects, images), boxes)
    rows = objects.rows.to(device).expand(shape)
    if predictions.dense.identities is not None:
        rows, present = predictions.dense.places(images, rows)
        if not bool(present.all()):
            raise DetectorError("the query of an object was not chosen in this pass, so there is nothing to explain")
    return TargetRows(images, rows, labels, boxes=boxes)


def _anchors(
    predictions: Predictions, objects: ExplainedObjects, images: Int64[Tensor, "*target"]
) -> Int64[Tensor, "*target"] | None:
    """Return the rows of the proposal head from which the regions came, where all of them are known.

    A changed image has other proposals, so there the rows are those that were found in the image as it is.
    """
    assert predictions.roi is not None
    if objects.anchors is not None:
        return objects.anchors.to(images.device).expand(images.shape)
    known = objects.proposals
    if (
        known is None
        or predictions.roi.sources is None
        or not predictions.roi.sources.shape[1]
        or images.ndim > 1
        or bool((known < 0).any())
    ):
        return None
    return predictions.roi.sources[images, known.to(images.device)]
