"""What a detector got wrong in a set of images: `detinv.explain_errors`."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import UInt8
from torch import Tensor

from detinv.attribution.mistakes.kinds import Judged, Kind, Thresholds, judge
from detinv.attribution.mistakes.replay import replay_image
from detinv.attribution.mistakes.stages import Candidate, Loss, Losses
from detinv.detectors.base import AbstractDetector
from detinv.detectors.load import as_detector
from detinv.errors import LayoutError
from detinv.inputs.images import eight_bit_images
from detinv.inputs.torch_settings import usual_torch
from detinv.layouts.layout import Detections, Layout


@dataclass(frozen=True, eq=False)
class ImageErrors:
    """The objects and detections of one image, and what became of each.

    Args:
        truth: the annotated objects.
        found: the detections that count.
        judged: their kinds.
        losses: where each object was lost; None for found ones.
        candidates: the raw prediction of each detection, where it is known.
    """

    truth: Layout
    found: Detections
    judged: Judged
    losses: list[Loss | None]
    candidates: list[Candidate | None]


@dataclass(frozen=True, eq=False)
class ErrorReport:
    """The errors of a detector in all images.

    Args:
        images: one entry for each.
        class_names: of the detector.
        thresholds: by which detections were judged.
    """

    images: list[ImageErrors]
    class_names: tuple[str, ...]
    thresholds: Thresholds

    def __repr__(self) -> str:
        objects = Counter(str(kind) for one in self.images for kind in one.judged.objects)
        detections = Counter(str(kind) for one in self.images for kind in one.judged.detections)
        parts = [f"{len(self.images)} image{'' if len(self.images) == 1 else 's'}"]
        for name, kinds in (("objects", objects), ("detections", detections)):
            parts.append(f"{kinds.total()} {name}: {', '.join(f'{n} {kind}' for kind, n in kinds.most_common())}")
        return f"ErrorReport({'; '.join(part.removesuffix(': ') for part in parts)})"

    def entries(self) -> list[dict[str, Any]]:
        """Return everything as plain values, ready for JSON: one entry for each image."""
        return [self._image(one) for one in self.images]

    def _image(self, one: ImageErrors) -> dict[str, Any]:
        objects = [
            {
                "class": self.class_names[int(one.truth.labels[number])],
                "box": one.truth.boxes[number].tolist(),
                "kind": str(one.judged.objects[number]),
                "detection": _number(one.judged.found_by[number]),
                **({} if loss is None else self._loss(loss)),
            }
            for number, loss in enumerate(one.losses)
        ]
        detections = [
            {
                "class": self.class_names[int(one.found.labels[number])],
                "score": float(one.found.scores[number]),
                "box": one.found.boxes[number].tolist(),
                "kind": str(kind),
                "object": _number(about),
                "iou": float(one.judged.iou[number, about]) if about >= 0 else None,
            }
            for number, (kind, about) in enumerate(zip(one.judged.detections, one.judged.about, strict=True))
        ]
        return {"objects": objects, "detections": detections}

    def _loss(self, loss: Loss) -> dict[str, Any]:
        found: dict[str, Any] = {"stage": str(loss.stage)}
        for name in ("nearest", "winner", "suppressor"):
            candidate = getattr(loss, name)
            if candidate is not None:
                found[name] = self._candidate(candidate)
        if loss.anchor is not None:
            found["anchor"] = loss.anchor.name.lower()
        if loss.limit is not None:
            found["limit"] = loss.limit
        return found

    def _candidate(self, one: Candidate) -> dict[str, Any]:
        return {
            "row": one.row,
            "class": self.class_names[one.label],
            "score": one.score,
            "iou": one.iou,
            "box": one.box.tolist(),
            "detection": _number(one.detection),
            "best_class": self.class_names[one.best_label],
            "best_score": one.best_score,
        }


@usual_torch()
def explain_errors(
    detector: AbstractDetector | str,
    images: Sequence[Tensor],
    truth: Sequence[Layout],
    crowds: Sequence[Layout] | None = None,
    score_thresh: float = 0.5,
    fg_iou_thresh: float = 0.5,
    bg_iou_thresh: float = 0.1,
) -> ErrorReport:
    """Tell what a detector got wrong: a kind for every object and detection, and where each object was lost.

        report = detinv.explain_errors("shapes_fcos", [scene.image], [scene.layout])
        report.images[0].judged.objects, report.images[0].losses

    Detections are those of the detector's own inference. Where an object was lost is shown by a replay of the
    post-processing that the detector declares, on the raw outputs of the same image; see `Losses`.

    Args:
        detector: or the name of a registered one.
        images: 8-bit RGB, (3, height, width).
        truth: the objects of each image, in its pixels, with the detector's class numbers.
        crowds: for each image, regions in which objects of a class were not told apart; detections in them are ignored.
        score_thresh: detections whose score is not above it do not count; the detector's own threshold holds as well.
        fg_iou_thresh: IoU from which a detection is an object's.
        bg_iou_thresh: IoU below which a detection has nothing to do with an object.

    Raises:
        LayoutError: when images and layouts differ in number or size, or a class is not the detector's.
        ConfigError: for images of another kind, or a threshold out of its range.

    Source: see `judge`.
    """
    detector = as_detector(detector)
    thresholds = Thresholds(fg_iou_thresh, bg_iou_thresh, score_thresh)
    images = eight_bit_images(images)
    if len(truth) != len(images) or (crowds is not None and len(crowds) != len(images)):
        raise LayoutError(f"{len(images)} images need one layout each, and one of crowds if crowds are given")
    found = [
        image_errors(detector, image, layout, thresholds, None if crowds is None else crowds[number])
        for number, (image, layout) in enumerate(zip(images, truth, strict=True))
    ]
    return ErrorReport(found, tuple(detector.class_names), thresholds)


def image_errors(
    detector: AbstractDetector,
    image: UInt8[Tensor, "3 height width"],
    truth: Layout,
    thresholds: Thresholds,
    crowds: Layout | None = None,
    reported: Detections | None = None,
) -> ImageErrors:
    """Tell what a detector got wrong in one image; see `explain_errors`.

    Args:
        reported: what the detector's own inference reports for the image, where that is known already.
    """
    if truth.image_size != (image.shape[1], image.shape[2]):
        raise LayoutError(
            f"layout {truth.id} is of size {truth.image_size}, its image of size {(image.shape[1], image.shape[2])}"
        )
    if len(truth) and int(truth.labels.max()) >= len(detector.class_names):
        raise LayoutError(f"layout {truth.id}: class numbers must lie in 0 ... {len(detector.class_names) - 1}")
    if reported is None:
        (reported,) = detector.detect([image])
    found = reported.above(thresholds.score_thresh)
    judged = judge(truth, found, thresholds, crowds)
    replay = replay_image(detector, image, found, thresholds.score_thresh)
    lost = Losses(replay, truth, thresholds.fg_iou_thresh)
    losses = [None if kind == Kind.FOUND else lost.of(number) for number, kind in enumerate(judged.objects)]
    candidates = [
        None if source < 0 else lost.candidate(about, source)
        for source, about in zip(replay.detections, judged.about, strict=True)
    ]
    return ImageErrors(truth, found, judged, losses, candidates)


def _number(value: int) -> int | None:
    return value if value >= 0 else None
