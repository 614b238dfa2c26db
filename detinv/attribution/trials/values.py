"""How much a changed version of an image still shows what is asked about an object."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from detinv.attribution.core.frames import Frame
from detinv.attribution.core.objects import ExplainedObjects
from detinv.attribution.core.questions import Question
from detinv.attribution.core.raw_outputs import raw_outputs
from detinv.attribution.core.versions import version_scalars
from detinv.attribution.metrics.found_again import Sought, likeness
from detinv.detectors.base import AbstractDetector


class Values(ABC):
    """What changed versions are worth; subclasses are frozen dataclasses."""

    @abstractmethod
    def value(
        self, versions: Float[Tensor, "version 3 height width"], pairs: Int64[Tensor, " version"]
    ) -> Float[Tensor, " version"]:
        """Return the value of each version, with gradient where the caller has it enabled.

        Args:
            pairs: number of the object and question that each is about: object * number of questions + question.
        """


@dataclass(frozen=True, eq=False)
class DetectionLikeness(Values):
    """How well changed versions show detections as a whole: IoU times cosine of all scores, the best raw prediction.

    There is one question, so that pairs are objects.

    Args:
        size: (height, width) of the image on the canvas.
    """

    detector: AbstractDetector
    size: tuple[int, int]
    sought: Sought

    @classmethod
    def of(
        cls,
        detector: AbstractDetector,
        pixels: Float[Tensor, "1 3 height width"],
        size: tuple[int, int],
        boxes: Float[Tensor, "object 4"],
        labels: Int64[Tensor, " object"],
    ) -> "DetectionLikeness":
        """Return what compares versions with these pixels.

        Args:
            boxes: XYXY on the canvas.
        """
        with torch.no_grad(), torch.autocast(detector.device.type, enabled=False):
            raw = raw_outputs(detector(pixels, [size]))
        return cls(detector, size, Sought.of(raw, boxes.to(pixels), labels.to(pixels.device), size))

    def value(self, versions: Tensor, pairs: Tensor) -> Tensor:
        with torch.autocast(self.detector.device.type, enabled=False):
            raw = raw_outputs(self.detector(versions, [self.size] * len(versions)))
        return likeness("iou_cosine", raw, self.sought, pairs.to(versions.device), self.size)

    def of_all(self, versions: Float[Tensor, "version 3 height width"]) -> Float[Tensor, "version object"]:
        """Return how well each version shows each of the detections."""
        with torch.autocast(self.detector.device.type, enabled=False):
            raw = raw_outputs(self.detector(versions, [self.size] * len(versions)))
        whole = torch.arange(len(self.sought.boxes), device=versions.device)[:, None].expand(-1, len(versions))
        return torch.stack([likeness("iou_cosine", raw, self.sought, one, self.size) for one in whole], 1)


@dataclass(frozen=True, eq=False)
class Answers(Values):
    """What changed versions answer, each to one pair of an object and a question; rows and regions are held.

    An answer about the class counts as it is. One about the box counts by how near it is to that of the image as it is,
    since a side has no direction that speaks for it: minus the distance between the two.

    Args:
        size: (height, width) of the image on the canvas.
        before: answers on the image as it is.
    """

    detector: AbstractDetector
    frame: Frame
    size: tuple[int, int]
    objects: ExplainedObjects
    questions: Sequence[Question]
    before: Float[Tensor, "object question"]

    @classmethod
    def of(
        cls,
        detector: AbstractDetector,
        pixels: Float[Tensor, "1 3 height width"],
        frame: Frame,
        size: tuple[int, int],
        objects: ExplainedObjects,
        questions: Sequence[Question],
    ) -> "Answers":
        """Return what compares versions with these pixels."""
        with torch.no_grad():
            before = version_scalars(detector, pixels, size, frame, objects, questions)[0]
        return cls(detector, frame, size, objects, questions, before)

    def value(self, versions: Tensor, pairs: Tensor) -> Tensor:
        found = version_scalars(self.detector, versions, self.size, self.frame, self.objects, self.questions)
        pairs = pairs.to(found.device)
        mine = found.flatten(1).gather(1, pairs[:, None])[:, 0]
        of_class = torch.tensor([question.of_class for question in self.questions], device=found.device)
        distance = (mine - self.before.flatten()[pairs]).abs()
        return torch.where(of_class[pairs % len(self.questions)], mine, -distance)
