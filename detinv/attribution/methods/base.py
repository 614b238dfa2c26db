"""What every method of attribution is."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float, UInt8
from torch import Tensor

from detinv.attribution.core.objects import ExplainedObjects
from detinv.attribution.core.questions import Question
from detinv.detectors.base import AbstractDetector

PIXELS = "pixels"
"""The name of the network's input among layers."""
PREDICTING = "predicting"
"""Stands for the pyramid level that an object was predicted from."""


class AbstractMethod:
    """A way to make a map of what one scalar of a detector depends on; subclasses are frozen dataclasses."""

    signed: bool = False
    """Whether negative values, which speak against, are kept."""

    def for_question(self, question: Question) -> "AbstractMethod":
        """Return the method that answers this question; only a choice among methods returns another one."""
        return self


@dataclass(frozen=True)
class Factor:
    """The map of one layer within a product.

    Args:
        method: makes it, and smooths it.
        layer: see `ActivationMethod.layers`.
        power: to which it is raised.
    """

    method: "ActivationMethod"
    layer: str | int
    power: float = 1.0


class ActivationMethod(AbstractMethod, ABC):
    """A method that needs the features A of some layers and the gradients G of the scalar with respect to them.

    All such methods share one forward pass of an image, and one batched backward pass.
    """

    layers: Sequence[str | int]
    """Names of feature layers; strides, each for the backbone's stage of that stride; PREDICTING; or PIXELS.

    The maps of several layers are multiplied.
    """
    smoothing: float = 0.0
    """Standard deviation of the Gaussian, in pixels of the network's input, by which each layer's map is smoothed."""

    def factors(self) -> "list[Factor]":
        """Return the maps of single layers that are multiplied to the map of the method."""
        return [Factor(self, layer) for layer in self.layers]

    @abstractmethod
    def layer_map(
        self,
        features: Float[Tensor, "scalar_or_1 channel height width"],
        gradients: Float[Tensor, "scalar channel height width"],
        boxes: Float[Tensor, "scalar height width"],
    ) -> Float[Tensor, "scalar height width"]:
        """Return the map of each scalar at one layer, not yet rectified.

        Args:
            features: of the layer; the pixels themselves, with the mean colour as zero, for PIXELS.
            gradients: of each scalar with respect to the features.
            boxes: 1 inside the scalar's object, 0 outside, at the layer's resolution.
        """


@dataclass(frozen=True)
class ImageMaps:
    """Maps over the whole canvas of one image.

    Args:
        values: for each object and question.
        forwards, backwards: how many images passed through the network, and back.
    """

    values: Float[Tensor, "object question height width"]
    forwards: int
    backwards: int


class ImageMethod(AbstractMethod, ABC):
    """A method that runs the detector on changed versions of the image."""

    @abstractmethod
    def explain(
        self,
        detector: AbstractDetector,
        image: UInt8[Tensor, "3 height width"],
        objects: ExplainedObjects,
        questions: Sequence[Question],
        seed: int,
    ) -> ImageMaps:
        """Return the maps of all objects and questions of one image.

        Args:
            seed: of whatever is random; the same seed gives the same maps.
        """
