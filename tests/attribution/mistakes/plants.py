"""Mistakes made on purpose: of a scene or photograph, a detector and annotations, one thing has been changed."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor
from torchvision.ops import box_iou

from detinv.attribution.mistakes.kinds import Kind
from detinv.attribution.mistakes.report import ImageErrors
from detinv.attribution.mistakes.stages import Stage
from detinv.detectors.heads.trace import Fate
from tests.attribution.mistakes.subjects import (
    TWO_STAGE,
    WRITTEN,
    Plant,
    Subject,
    detector_with,
    labelled,
    moved_aside,
    nearest_box,
    still_found,
)
from tests.attribution.mistakes.written import ONE_ROW

# Detectors whose inference has no limit on the detections of an image.
WITHOUT_LIMIT = ("fastestdet", "detr_resnet50", "rtdetr_r18", "rtdetr_v2_r18")
# Detectors that limit what their suppression receives.
WITH_CANDIDATES = ("shapes_retinanet", "shapes_fcos", "detectron2_retinanet", "detectron2_fcos", "written_ssd")


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
        if not still_found(detector, image, subject.truth, number, subject.score_thresh):
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
    """Detections that only a suppression that suppresses little reports, or a second row where nothing suppresses."""
    without = subject.name.removeprefix(WRITTEN) in ONE_ROW
    detector = detector_with(subject.name, **({"copies": 2} if without else {"nms_thresh": 0.9}))
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
        truth = labelled(subject.truth, number, (true + 1) % len(detector.class_names))

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
    if subject.name.removeprefix(WRITTEN) in WITHOUT_LIMIT:
        return
    order = subject.found.scores.argsort(descending=True, stable=True).tolist()
    for number, place in subject.clear():
        if rank := order.index(place):
            detector = detector_with(subject.name, detections_per_image=rank)
            plant = ("fewer detections", detector, subject.image, subject.truth, Kind.MISSED, number)
            yield Plant(*plant, (Stage.BEYOND_DETECTIONS,), score_thresh=subject.score_thresh)


def fewer_candidates(subject: Subject) -> Iterator[Plant]:
    """Heads of which suppression receives one candidate from each level, or of each class."""
    if subject.name not in WITH_CANDIDATES:
        return
    detector = detector_with(subject.name, topk_candidates=1)
    for number, _ in subject.clear():
        if not still_found(detector, subject.image, subject.truth, number, subject.score_thresh):
            plant = ("fewer candidates", detector, subject.image, subject.truth, Kind.MISSED, number)
            yield Plant(*plant, (Stage.BEYOND_CANDIDATES,), score_thresh=subject.score_thresh)


def fewer_proposals(subject: Subject) -> Iterator[Plant]:
    """Second stages that receive one region."""
    if subject.name not in TWO_STAGE:
        return
    detector = detector_with(subject.name, proposals=1)
    for number, _ in subject.clear():
        if not still_found(detector, subject.image, subject.truth, number, subject.score_thresh):

            def beyond(errors: ImageErrors, number: int = number) -> bool:
                loss = errors.losses[number]
                return loss is not None and loss.anchor == Fate.BEYOND_DETECTIONS

            plant = ("fewer proposals", detector, subject.image, subject.truth, Kind.MISSED, number)
            yield Plant(*plant, (Stage.NO_PROPOSAL,), also=beyond)


def moved(subject: Subject) -> Iterator[Plant]:
    """Objects whose annotation has been moved aside, and, in addition, has another class."""
    detector = detector_with(subject.name)
    for number, place in subject.clear():
        truth = moved_aside(subject, number)
        if truth is None:
            continue
        box, thresh = subject.found.boxes[place], subject.score_thresh
        plant = (detector, subject.image, truth, Kind.BADLY_PLACED)
        yield Plant("moved", *plant, number, score_thresh=thresh)
        yield Plant("moved, detection", *plant, box=box, score_thresh=thresh)
        other = (int(truth.labels[number]) + 1) % len(detector.class_names)
        both = ("moved and swapped", detector, subject.image, labelled(truth, number, other), Kind.BOTH)
        yield Plant(*both, box=box, score_thresh=thresh)


def not_annotated(subject: Subject) -> Iterator[Plant]:
    """Objects without annotation."""
    for number, place in subject.clear():
        keep = torch.arange(len(subject.truth)) != number
        plant = (detector_with(subject.name), subject.image, subject.truth.select(keep), Kind.BACKGROUND)
        yield Plant("not annotated", *plant, box=subject.found.boxes[place], score_thresh=subject.score_thresh)


def suppressed(subject: Subject) -> Iterator[Plant]:
    """Pairs of overlapping objects of one class, of which a strict suppression leaves one."""
    if subject.name.removeprefix(WRITTEN) in ONE_ROW:
        return
    detector = detector_with(subject.name, nms_thresh=0.05)
    boxes, labels, scores = subject.found.boxes, subject.found.labels, subject.found.scores
    iou = box_iou(boxes, boxes)
    for number in range(len(subject.truth)):
        mine = nearest_box(boxes, subject.truth.boxes[number]) if len(boxes) else -1
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
        classes = subject.truth.labels[[number, int(other.argmax())]]
        if not proper or bool((classes != labels[mine]).any()):
            continue
        thresh, rival = subject.score_thresh, boxes[rivals[0]]
        if still_found(detector, subject.image, subject.truth, number, thresh, besides=rival):
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
