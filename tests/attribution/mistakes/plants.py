"""Mistakes made on purpose: a scene or photograph, a detector and annotations of which one thing has been changed."""

from collections.abc import Callable, Iterator, Sequence
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
from detinv.detectors.heads.trace import Fate
from detinv.detectors.load import load_detector
from detinv.layouts.layout import Detections, Layout
from detinv.worlds.backgrounds import clouds
from detinv.worlds.base import PixelBox, Placed
from detinv.worlds.plain import APPEARANCES, PlainWorld

TORCHVISION = ("shapes_retinanet", "shapes_fcos", "shapes_fasterrcnn", "shapes_maskrcnn")
TWO_STAGE = ("shapes_fasterrcnn", "shapes_maskrcnn")
_NAMES = {"detections_per_image": "detections_per_img"}


@lru_cache(maxsize=16)
def detector_with(name: str, **settings: Any) -> AbstractDetector:
    """Load a detector with other constants of its post-processing."""
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


def _label(truth: Layout, number: int, label: int) -> Layout:
    labels = truth.labels.clone()
    labels[number] = label
    return replace(truth, labels=labels)


def _moved(subject: Subject, number: int, iou: float = 0.3) -> Layout | None:
    """Return the annotations with one box moved aside, so that this IoU is left; None if it has no room."""
    boxes, (height, width) = subject.truth.boxes.clone(), subject.truth.image_size
    x0, y0, x1, y1 = subject.found.boxes[_nearest(subject.found.boxes, boxes[number])].tolist()
    step = (x1 - x0) * (1 - iou) / (1 + iou)
    for shift in (step, -step):
        moved = torch.tensor([x0 + shift, y0, x1 + shift, y1])
        others = torch.cat([boxes[:number], boxes[number + 1 :]])
        inside = moved[0] >= 0 and moved[2] <= width and y0 >= 0 and y1 <= height
        if inside and (not len(others) or box_iou(moved[None], others).max() < 0.02):
            boxes[number] = moved
            return replace(subject.truth, boxes=boxes, masks=None)
    return None


def _nearest(boxes: Tensor, box: Tensor) -> int:
    return int(box_iou(boxes, box[None])[:, 0].argmax())


def _still_found(
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


def hidden(subject: Subject) -> Iterator[Plant]:
    """Objects whose pixels are those of the background."""
    if subject.background is None:
        return
    detector = detector_with(subject.name)
    for number, _ in subject.clear():
        x0, y0, x1, y1 = (int(value) for value in subject.truth.boxes[number].round())
        image = subject.image.clone()
        part = (slice(None), slice(max(y0 - 2, 0), y1 + 2), slice(max(x0 - 2, 0), x1 + 2))
        image[part] = subject.background[part]
        if not _still_found(detector, image, subject.truth, number, subject.score_thresh):
            stages = (Stage.LOW_SCORE, Stage.NO_ROW, Stage.NO_PROPOSAL)
            yield Plant("hidden", detector, image, subject.truth, Kind.MISSED, number, stages)


def annotated_twice(subject: Subject) -> Iterator[Plant]:
    """Objects whose box is annotated a second time: one of both must be missed, as its detection is the other's."""
    truth, detector = subject.truth, detector_with(subject.name)
    for number, place in subject.clear():
        twice = replace(
            truth,
            boxes=torch.cat([truth.boxes, truth.boxes[number][None]]),
            labels=torch.cat([truth.labels, truth.labels[number][None]]),
            masks=None,
        )

        def claimed(errors: ImageErrors, number: int = number, box: Tensor = subject.found.boxes[place]) -> bool:
            loss = errors.losses[number]
            return loss is not None and loss.nearest is not None and bool((loss.nearest.box - box).abs().max() < 0.05)

        plant = ("annotated twice", detector, subject.image, twice, Kind.MISSED, number, (Stage.CLAIMED,))
        yield Plant(*plant, score_thresh=subject.score_thresh, also=claimed)


def duplicates(subject: Subject) -> Iterator[Plant]:
    """Detections that only a suppression that suppresses little reports."""
    detector = detector_with(subject.name, nms_thresh=0.9)
    (found,) = detector.detect([subject.image])
    found = found.above(subject.score_thresh)
    for number, _ in subject.clear():
        iou = box_iou(found.boxes, subject.truth.boxes[number][None])[:, 0]
        mine = ((iou > 0.55) & (found.labels == subject.truth.labels[number])).nonzero()[:, 0]
        for row in mine[found.scores[mine].argsort(descending=True)][1:2].tolist():
            yield Plant(
                "duplicate", detector, subject.image, subject.truth, Kind.DUPLICATE,
                box=found.boxes[row], score_thresh=subject.score_thresh,
            )  # fmt: skip


def swapped(subject: Subject) -> Iterator[Plant]:
    """Objects annotated with the class after their own."""
    detector = detector_with(subject.name)
    for number, place in subject.clear():
        true = int(subject.truth.labels[number])
        truth = _label(subject.truth, number, (true + 1) % len(detector.class_names))

        def won(errors: ImageErrors, number: int = number, true: int = true) -> bool:
            loss = errors.losses[number]
            return loss is not None and loss.winner is not None and loss.winner.label == true

        plant = ("swapped", detector, subject.image, truth, Kind.WRONG_CLASS, number, (Stage.OTHER_CLASS,))
        yield Plant(*plant, score_thresh=subject.score_thresh, also=won)
        box = subject.found.boxes[place]
        yield Plant("swapped, detection", *plant[1:5], box=box, score_thresh=subject.score_thresh)


def raised_threshold(subject: Subject) -> Iterator[Plant]:
    """Detectors whose threshold is higher than an object's score: their own, or the one that is asked for."""
    for number, place in subject.clear():
        score = float(subject.found.scores[place])
        higher = (score + 1) / 2
        if higher == 1.0:
            continue
        row_box = subject.found.boxes[place]

        def nearest(errors: ImageErrors, number: int = number, score: float = score, box: Tensor = row_box) -> bool:
            loss = errors.losses[number]
            if loss is None or loss.nearest is None:
                return False
            return abs(loss.nearest.score - score) < 1e-4 and bool((loss.nearest.box - box).abs().max() < 0.05)

        plant = (subject.image, subject.truth, Kind.MISSED, number, (Stage.LOW_SCORE,))
        yield Plant("raised by the user", detector_with(subject.name), *plant, score_thresh=higher, also=nearest)
        own = detector_with(subject.name, score_thresh=higher)
        yield Plant("raised threshold", own, *plant, score_thresh=subject.score_thresh, also=nearest)


def fewer_detections(subject: Subject) -> Iterator[Plant]:
    """Detectors that report fewer objects of an image than there are."""
    if subject.name == "fastestdet":
        return  # has no such limit
    order = subject.found.scores.argsort(descending=True, stable=True).tolist()
    for number, place in subject.clear():
        if rank := order.index(place):
            detector = detector_with(subject.name, detections_per_image=rank)
            plant = ("fewer detections", detector, subject.image, subject.truth, Kind.MISSED, number)
            yield Plant(*plant, (Stage.BEYOND_DETECTIONS,), score_thresh=subject.score_thresh)


def fewer_candidates(subject: Subject) -> Iterator[Plant]:
    """Heads of which suppression receives one candidate from each level."""
    if subject.name not in ("shapes_retinanet", "shapes_fcos"):
        return
    detector = detector_with(subject.name, topk_candidates=1)
    for number, _ in subject.clear():
        if not _still_found(detector, subject.image, subject.truth, number, subject.score_thresh):
            plant = ("fewer candidates", detector, subject.image, subject.truth, Kind.MISSED, number)
            yield Plant(*plant, (Stage.BEYOND_CANDIDATES,), score_thresh=subject.score_thresh)


def fewer_proposals(subject: Subject) -> Iterator[Plant]:
    """Second stages that receive one region."""
    if subject.name not in TWO_STAGE:
        return
    detector = detector_with(subject.name, proposals=1)
    for number, _ in subject.clear():
        if not _still_found(detector, subject.image, subject.truth, number, subject.score_thresh):

            def beyond(errors: ImageErrors, number: int = number) -> bool:
                loss = errors.losses[number]
                return loss is not None and loss.anchor == Fate.BEYOND_DETECTIONS

            plant = ("fewer proposals", detector, subject.image, subject.truth, Kind.MISSED, number)
            yield Plant(*plant, (Stage.NO_PROPOSAL,), also=beyond)


def moved(subject: Subject) -> Iterator[Plant]:
    """Objects whose annotation has been moved aside, and, in addition, has another class."""
    detector = detector_with(subject.name)
    for number, place in subject.clear():
        truth = _moved(subject, number)
        if truth is None:
            continue
        box, thresh = subject.found.boxes[place], subject.score_thresh
        plant = (detector, subject.image, truth, Kind.BADLY_PLACED)
        yield Plant("moved", *plant, number, score_thresh=thresh)
        yield Plant("moved, detection", *plant, box=box, score_thresh=thresh)
        other = (int(truth.labels[number]) + 1) % len(detector.class_names)
        both = ("moved and swapped", detector, subject.image, _label(truth, number, other), Kind.BOTH)
        yield Plant(*both, box=box, score_thresh=thresh)


def not_annotated(subject: Subject) -> Iterator[Plant]:
    """Objects without annotation."""
    for number, place in subject.clear():
        keep = torch.arange(len(subject.truth)) != number
        plant = (detector_with(subject.name), subject.image, subject.truth.select(keep), Kind.BACKGROUND)
        yield Plant("not annotated", *plant, box=subject.found.boxes[place], score_thresh=subject.score_thresh)


def suppressed(subject: Subject) -> Iterator[Plant]:
    """Pairs of overlapping objects of one class, of which a strict suppression leaves one."""
    detector = detector_with(subject.name, nms_thresh=0.05)
    boxes, labels, scores = subject.found.boxes, subject.found.labels, subject.found.scores
    iou = box_iou(boxes, boxes)
    for number in range(len(subject.truth)):
        mine = _nearest(boxes, subject.truth.boxes[number]) if len(boxes) else -1
        rivals = [
            row for row in range(len(boxes))
            if mine >= 0 and iou[mine, row] > 0.04 and labels[row] == labels[mine] and scores[row] > scores[mine]
        ]  # fmt: skip
        if len(rivals) != 1 or iou[mine, rivals[0]] < 0.08:
            continue
        over = box_iou(boxes, subject.truth.boxes)
        # Both detections are proper ones, and there is no other.
        other = over[rivals[0]].clone()
        other[number] = 0
        proper = over[mine, number] > 0.6 and other.max() > 0.6 and int((over[:, number] > 0.5).sum()) == 1
        labelled = subject.truth.labels[[number, int(other.argmax())]]
        if not proper or bool((labelled != labels[mine]).any()):
            continue
        thresh, rival = subject.score_thresh, boxes[rivals[0]]
        if _still_found(detector, subject.image, subject.truth, number, thresh, besides=rival):
            continue

        def by(errors: ImageErrors, number: int = number, box: Tensor = rival) -> bool:
            loss = errors.losses[number]
            if loss is None or loss.suppressor is None or loss.suppressor.detection < 0:
                return False
            return bool((errors.found.boxes[loss.suppressor.detection] - box).abs().max() < 0.05)

        plant = ("suppressed", detector, subject.image, subject.truth, Kind.MISSED, number, (Stage.SUPPRESSED,))
        yield Plant(*plant, score_thresh=subject.score_thresh, also=by)


PLANTS = (
    hidden, annotated_twice, duplicates, swapped, raised_threshold, fewer_detections, fewer_candidates,
    fewer_proposals, moved, not_annotated, suppressed,
)  # fmt: skip


class PairsWorld(PlainWorld):
    """Scenes with two overlapping objects of one class."""

    name = "pairs"

    def objects(self, generator: np.random.Generator) -> Iterator[Placed]:
        label = int(generator.integers(len(self.class_names)))
        yield from ((label, APPEARANCES[self.class_names[label]], box) for box in self.place(generator))

    def place(self, generator: np.random.Generator) -> list[PixelBox]:
        width, height = self.sides(generator)
        x0, y0, x1, y1 = self.somewhere(generator, width, height)
        shift = 0.62 * width if x1 + 0.62 * width < self.image_size[1] - 1 else -0.62 * width
        return [(x0, y0, x1, y1), (max(x0 + shift, 1.0), y0, x1 + shift, y1)]


def background_of(world: PlainWorld, number: int) -> Tensor:
    """Return a scene's image without its objects."""
    generator = np.random.default_rng((world.seed, number))
    canvas = clouds(generator, *world.image_size)
    return torch.from_numpy(np.round(canvas * 255).astype(np.uint8)).permute(2, 0, 1).contiguous()
