"""What mistakes are planted in, what a detector finds there, and what must be said of a planted mistake."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import box_iou

from detinv.attribution.mistakes.kinds import Kind
from detinv.attribution.mistakes.report import ImageErrors, explain_errors
from detinv.attribution.mistakes.stages import Stage
from detinv.detectors.base import AbstractDetector
from detinv.detectors.load import load_detector
from detinv.layouts.layout import Detections, Layout
from detinv.worlds.backgrounds import clouds
from detinv.worlds.plain import PlainWorld
from tests.attribution.mistakes.written import written_detector

TORCHVISION = ("shapes_retinanet", "shapes_fcos", "shapes_fasterrcnn", "shapes_maskrcnn")
DETECTRON2 = ("detectron2_retinanet", "detectron2_fcos", "detectron2_fasterrcnn", "detectron2_maskrcnn")
TWO_STAGE = ("shapes_fasterrcnn", "shapes_maskrcnn", "detectron2_fasterrcnn", "detectron2_maskrcnn")
WRITTEN = "written_"
_NAMES = {"detections_per_image": "detections_per_img"}


@lru_cache(maxsize=16)
def detector_with(name: str, **settings: Any) -> AbstractDetector:
    """Load a detector with other constants of its post-processing.

    Args:
        name: of a bundled detector; "detectron2_fcos" and so on are bundled ones as Detectron2's models, "written_ssd"
            and so on are `written_detector`s.
    """
    if name.startswith(WRITTEN):
        return written_detector(name.removeprefix(WRITTEN), **settings)
    if name in DETECTRON2:
        from tests.detectors.detectron2.shapes import as_detectron2

        return as_detectron2(detector_with(name.replace("detectron2", "shapes"), **settings))
    if name not in TORCHVISION:
        return load_detector(name, options=settings)
    detector: Any = load_detector(name)
    model = detector.model
    for setting, value in settings.items():
        if setting == "proposals":
            model.rpn._post_nms_top_n["testing"] = value
        else:
            setattr(model.roi_heads if name in TWO_STAGE else model, _NAMES.get(setting, setting), value)
    return type(detector)(model, detector.class_names, detector.columns)


@dataclass(frozen=True)
class Subject:
    """A detector's name, an image, its objects, and what the unchanged detector finds there.

    Args:
        background: the image without its objects, where it is known.
    """

    name: str
    image: Tensor
    truth: Layout
    found: Detections
    score_thresh: float = 0.5
    background: Tensor | None = None

    def clear(self) -> list[tuple[int, int]]:
        """Return objects far from all others that exactly one detection finds, with that detection."""
        among = box_iou(self.truth.boxes, self.truth.boxes).fill_diagonal_(0)
        iou = box_iou(self.truth.boxes, self.found.boxes)
        pairs = []
        for number in range(len(self.truth)):
            near = (iou[number] > 0.1).nonzero()[:, 0].tolist()
            alone = among[number].max() < 0.02 and len(near) == 1 and iou[number, near[0]] > 0.6
            if alone and self.found.labels[near[0]] == self.truth.labels[number]:
                pairs.append((number, near[0]))
        return pairs


@dataclass(frozen=True)
class Plant:
    """One planted mistake, and what must be said of it.

    Args:
        object: number of the object that it is about; None if it is about a detection.
        kind: of the object, or of the detection with the box `box`.
        stages: where the object may have been lost.
        also: what else must hold.
    """

    name: str
    detector: AbstractDetector
    image: Tensor
    truth: Layout
    kind: Kind
    object: int | None = None
    stages: Sequence[Stage] = ()
    box: Tensor | None = None
    score_thresh: float = 0.5
    also: Callable[[ImageErrors], bool] = field(default=lambda errors: True)

    def verdict(self) -> str:
        """Return "right", or what was said instead."""
        report = explain_errors(self.detector, [self.image], [self.truth], score_thresh=self.score_thresh)
        (errors,) = report.images
        if self.object is None:
            assert self.box is not None
            place = int((errors.found.boxes - self.box).abs().amax(1).argmin())
            kind, stage = errors.judged.detections[place], None
        else:
            kind, loss = errors.judged.objects[self.object], errors.losses[self.object]
            stage = None if loss is None else loss.stage
        right = kind == self.kind and (not self.stages or stage in self.stages) and self.also(errors)
        return "right" if right else f"{kind}, {stage}"


def labelled(truth: Layout, number: int, label: int) -> Layout:
    labels = truth.labels.clone()
    labels[number] = label
    return replace(truth, labels=labels)


def moved_aside(subject: Subject, number: int, iou: float = 0.3) -> Layout | None:
    """Return the annotations with one box moved aside, so that this IoU is left; None if it has no room."""
    boxes, (height, width) = subject.truth.boxes.clone(), subject.truth.image_size
    x0, y0, x1, y1 = subject.found.boxes[nearest_box(subject.found.boxes, boxes[number])].tolist()
    step = (x1 - x0) * (1 - iou) / (1 + iou)
    for shift in (step, -step):
        moved = torch.tensor([x0 + shift, y0, x1 + shift, y1])
        others = torch.cat([boxes[:number], boxes[number + 1 :]])
        inside = moved[0] >= 0 and moved[2] <= width and y0 >= 0 and y1 <= height
        if inside and (not len(others) or box_iou(moved[None], others).max() < 0.02):
            boxes[number] = moved
            return replace(subject.truth, boxes=boxes, masks=None)
    return None


def nearest_box(boxes: Tensor, box: Tensor) -> int:
    return int(box_iou(boxes, box[None])[:, 0].argmax())


def still_found(
    detector: AbstractDetector,
    image: Tensor,
    truth: Layout,
    number: int,
    score_thresh: float,
    besides: Tensor | None = None,
) -> bool:
    """Tell whether a detection, other than the one with the box `besides`, has anything to do with an object."""
    (found,) = detector.detect([image])
    found = found.above(score_thresh)
    near = box_iou(found.boxes, truth.boxes[number][None])[:, 0] >= 0.1
    if besides is not None:
        near = near & ((found.boxes - besides).abs().amax(1) > 0.05)
    return bool(near.any())


def background_of(world: PlainWorld, number: int) -> Tensor:
    """Return a scene's image without its objects."""
    generator = np.random.default_rng((world.seed, number))
    canvas = clouds(generator, *world.image_size)
    return torch.from_numpy(np.round(canvas * 255).astype(np.uint8)).permute(2, 0, 1).contiguous()
