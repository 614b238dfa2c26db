"""The adapter under test, with the images and layouts it is tried on."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from detinv.checks.images import random_image
from detinv.detectors.base import AbstractDetector
from detinv.detectors.canvas import on_canvas
from detinv.detectors.heads.predictions import Predictions
from detinv.detectors.hooks import count_hooks
from detinv.detectors.regions import Regions
from detinv.inversion.preset import Preset
from detinv.layouts.batch import LayoutBatch, canvas_size
from detinv.layouts.layout import Layout
from detinv.layouts.random import random_layout
from detinv.zoo.weights import weight_hash


class AdapterTrial:
    """One adapter, its images, and the state it had before anything was tried.

    Args:
        detector, preset, image_sizes, steps, seed, images, truth: see `detinv.checks.adapter.check_adapter`.

    Attributes:
        sizes: (height, width) of images at the size of the network's input.
        images: of such sizes, 8 bit; claims may add to them.
        photographs, truth: images as they were given, and the objects in them.
        generator: of all that is random.
        weights, hooks: hash of the weights, and the number of hooks, at the beginning.
    """

    def __init__(
        self,
        detector: AbstractDetector,
        preset: Preset,
        image_sizes: Sequence[tuple[int, int]],
        steps: int,
        seed: int,
        images: Sequence[Tensor],
        truth: Sequence[Layout] = (),
    ) -> None:
        self.detector = detector
        self.preset = preset
        self.steps = steps
        self.seed = seed
        self.generator = torch.Generator().manual_seed(seed)
        self.sizes = [detector.network_size(size) for size in image_sizes]
        self.photographs, self.truth = list(images), list(truth)
        self.images = [_resized(image, detector) for image in images]
        self.images += [random_image(size, self.generator) for size in self.sizes]
        self.weights, self.hooks = weight_hash(detector), count_hooks(detector)
        self._predicted: dict[tuple[int, int], Predictions] = {}

    def image(self, size: tuple[int, int]) -> Tensor:
        """Return another random image, 8 bit."""
        return random_image(size, self.generator)

    def layout(self, size: tuple[int, int], objects: int, generator: torch.Generator | None = None) -> Layout:
        """Return a random layout with that many objects, or as many as the detector can report.

        Args:
            generator: by default the trial's own.
        """
        objects = min(objects, self.detector.detections_per_image)
        names = self.detector.class_names
        return random_layout("tried", size, len(names), objects, self.generator if generator is None else generator)

    def batch(
        self, images: Sequence[Tensor], layouts: Sequence[Layout], slots: int | None = None
    ) -> tuple[Tensor, LayoutBatch]:
        """Return images on a canvas, as an inversion would put them there, and their layouts."""
        batch = LayoutBatch.collate(layouts, self.detector.size_divisor, slots)
        return on_canvas(self.detector, images, batch.canvas_size), batch.to(self.detector.device)

    def predict(self, pixels: Tensor, layouts: LayoutBatch) -> Predictions:
        """Return raw predictions, with gradient to the pixels."""
        return self.detector(pixels, layouts.image_sizes, Regions(layouts.boxes, layouts.valid))

    def canvas_of(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return (height, width) of the canvas for images of this size."""
        return canvas_size([size], self.detector.size_divisor)

    def predicted(self, size: tuple[int, int]) -> Predictions:
        """Return raw predictions of one random image of this size, without gradient; the same at every call."""
        if size not in self._predicted:
            image = random_image(size, torch.Generator().manual_seed(self.seed))
            pixels = on_canvas(self.detector, [image], self.canvas_of(size))
            with torch.no_grad():
                self._predicted[size] = self.detector(pixels, [size]).detach()
        return self._predicted[size]


def comparable_outputs(predictions: Predictions) -> list[Tensor]:
    """Return the outputs whose rows mean the same in two passes.

    Of a second stage these are the rows of given regions; of queries that are chosen among tokens, in an order that
    the last digit of a score decides, the tokens.
    """
    roi = predictions.roi
    if predictions.encoder is not None:
        return predictions.encoder.outputs()
    if roi is None:
        return predictions.outputs()
    given = slice(roi.logits.shape[1] - roi.given, None)
    return [*predictions.dense.outputs(), roi.logits[:, given], roi.deltas[:, given]]


def _resized(image: Tensor, detector: AbstractDetector) -> Tensor:
    size = detector.network_size((image.shape[1], image.shape[2]))
    resized = F.interpolate(image[None].float(), size, mode="bilinear", antialias=True)[0]
    return resized.round().clamp(0, 255).to(torch.uint8)
