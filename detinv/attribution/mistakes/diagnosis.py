"""What is missed in images, and why: by the size of the objects, and by how crowded they are."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from detinv.attribution.core.forward import canvas_of
from detinv.attribution.mistakes.crowding import Crowding, crowding
from detinv.attribution.mistakes.kinds import Thresholds
from detinv.attribution.mistakes.report import ErrorReport, image_errors
from detinv.attribution.mistakes.stages import Stage
from detinv.detectors.base import AbstractDetector
from detinv.layouts.boxes import area
from detinv.layouts.layout import Detections, Layout
from detinv.metrics.coco_ap import average_precision_above
from detinv.results.reports.findings import Table

SMALL_SIDE = 32
"""Side in pixels up to which an object is small, as in COCO's evaluation."""
_SIDES = (16, SMALL_SIDE, 64, 128)
# Reasons that have a column even where nothing was missed for them.
_USUAL = (Stage.NO_ROW, Stage.OTHER_CLASS, Stage.LOW_SCORE, Stage.SUPPRESSED)


@dataclass(frozen=True)
class Outcome:
    """What became of one annotated object.

    Args:
        side: square root of its area, in pixels of the network's input.
        crowding: how crowded it is.
        stage: where it was lost; None where it was found.
    """

    side: float
    crowding: Crowding
    stage: Stage | None

    @property
    def large(self) -> bool:
        """Whether its area is above that of a square of `SMALL_SIDE`."""
        return self.side > SMALL_SIDE


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What a detector misses in a set of images, and why.

    Args:
        report: of all errors.
        objects: of all images, in the order of the report.
        precision: AP and AP50 in percent: of "all" objects and of the "large" ones.
        inverted: whether the images were made for the detector, so that they could be made otherwise.
    """

    report: ErrorReport
    objects: list[Outcome]
    precision: dict[str, tuple[float, float]]
    inverted: bool = True

    def numbers(self) -> dict[str, Any]:
        """Return counts, precision and advice as plain values, ready for JSON."""
        return {
            "objects": len(self.objects),
            "missed": sum(one.stage is not None for one in self.objects),
            "stages": {str(stage): sum(one.stage == stage for one in self.objects) for stage in Stage},
            "precision": {name: {"AP": ap, "AP50": ap50} for name, (ap, ap50) in self.precision.items()},
            "advice": self.advice(),
        }

    def entries(self) -> list[dict[str, Any]]:
        """Return everything about every image, ready for JSON; see `ErrorReport.entries`."""
        found, objects = self.report.entries(), iter(self.objects)
        for one, image in zip(found, self.report.images, strict=True):
            one["layout"] = image.truth.id
            for entry in one["objects"]:
                outcome = next(objects)
                entry |= {"side": outcome.side, "crowding": str(outcome.crowding)}
        return found

    def tables(self) -> list[Table]:
        """Return the tables: precision, what is missed by size, and by crowding for large and for small objects."""
        sizes = [_size_name(one.side) for one in self.objects]
        names = [_size_name(side) for side in (0.0, *(float(side) + 1 for side in _SIDES))]
        large = [one for one in self.objects if one.large]
        small = [one for one in self.objects if not one.large]
        note = (
            f"Missed: no detection of its class with a score above {self.report.thresholds.score_thresh:g} overlaps it "
            f"by an IoU of at least {self.report.thresholds.fg_iou_thresh:g}. The reason is the step of the detector's "
            "inference that dropped what came nearest to finding it. Sides are in pixels of the network's input."
        )
        crowds = [str(kind) for kind in Crowding]
        return [
            Table(
                "precision",
                "Average precision",
                ("objects", "number", "AP", "AP50"),
                [
                    ("all", len(self.objects), *self.precision["all"]),
                    (f"larger than {SMALL_SIDE}² px", len(large), *self.precision["large"]),
                ],
            ),
            self._table("sizes", "What is missed, by size", "side", names, sizes, self.objects, note),
            self._table(
                "crowding_large",
                f"What is missed, by crowding: objects larger than {SMALL_SIDE}² px",
                "crowding",
                crowds,
                [str(one.crowding) for one in large],
                large,
                "The first that is true of an object. Its rows are those that the detector's training would give it if "
                "it were alone; too much is more than suppression allows.",
            ),
            self._table(
                "crowding_small",
                f"What is missed, by crowding: objects up to {SMALL_SIDE}² px",
                "crowding",
                crowds,
                [str(one.crowding) for one in small],
                small,
            ),
        ]

    def advice(self) -> list[str]:
        """Return what to change, as far as the numbers tell."""
        found = []
        ap, ap50 = self.precision["large"]
        if ap50 >= _FOUND and ap < _TIGHT * ap50:
            remedy = " Ask more of the boxes, with a larger preset.objective.weights.reg, or for more steps."
            found.append(
                f"Of objects larger than {SMALL_SIDE}² px, AP50 is {ap50:.0f} and AP {ap:.0f}: they are found, but "
                f"their boxes do not fit.{remedy * self.inverted}"
            )
        lost = Counter(one.stage for one in self.objects if one.stage is not None)
        if lost:
            stage, count = lost.most_common(1)[0]
            advice = f" {_ADVICE[stage]}" if stage in _ADVICE and self.inverted else ""
            found.append(f"Most often, {stage}: {count} of {lost.total()} missed objects.{advice}")
        return found

    def _table(
        self,
        name: str,
        title: str,
        heading: str,
        order: Sequence[str],
        groups: Sequence[str],
        objects: Sequence[Outcome],
        note: str = "",
    ) -> Table:
        """Count the objects of each group, and those of them that are missed, by reason."""
        stages = [stage for stage in Stage if stage in _USUAL or any(one.stage == stage for one in self.objects)]
        total = Counter(groups)
        lost = Counter((group, one.stage) for group, one in zip(groups, objects, strict=True))
        rows: list[tuple[str | int, ...]] = []
        for group in (one for one in order if total[one]):
            counts = [lost[group, stage] for stage in stages]
            rows.append((group, total[group], sum(counts), *counts))
        every = [sum(int(row[place]) for row in rows) for place in range(1, 3 + len(stages))]
        return Table(
            name,
            title,
            (heading, "objects", "missed", *(str(stage) for stage in stages)),
            [*rows, ("all", *every)],
            note,
        )


# AP50 from which objects count as found, and the share of it below which AP says that boxes do not fit.
_FOUND, _TIGHT = 60.0, 0.75
_ADVICE = {
    Stage.NO_ROW: "No raw prediction has their box: ask more of the boxes, with a larger "
    "preset.objective.weights.reg; small objects that share their rows cannot all be had.",
    Stage.OTHER_CLASS: "Their box is there, as another class: ask more of the classes, with a larger "
    "preset.objective.weights.cls or for more steps.",
    Stage.LOW_SCORE: "Box and class are there, with too low a score: ask for more steps, or more of the classes, with "
    "a larger preset.objective.weights.cls.",
    Stage.NO_MAXIMUM: "Cells beside theirs suppress them: a layout whose objects of one class lie farther apart can "
    "be reported in full.",
    Stage.SUPPRESSED: "Their neighbours suppress them: a layout whose objects overlap less can be reported in full.",
}


def diagnose(
    detector: AbstractDetector,
    images: Sequence[UInt8[Tensor, "3 _ _"]],
    truth: Sequence[Layout],
    crowds: Sequence[Layout] | None = None,
    thresholds: Thresholds | None = None,
    track: Callable[[Sequence[int]], Iterable[int]] = iter,
    inverted: bool = True,
) -> Diagnosis:
    """Tell what a detector misses in images, and why.

    Args:
        images, truth, crowds: see `explain_errors`.
        thresholds: by which detections are judged.
        track: called with the numbers of the images; what it returns is run through.
        inverted: see `Diagnosis`.
    """
    thresholds = thresholds or Thresholds()
    judged, objects = [], []
    layouts, detections = [], []
    for number in track(range(len(images))):
        image, layout = images[number], truth[number]
        (found,) = detector.detect([image])
        errors = image_errors(detector, image, layout, thresholds, None if crowds is None else crowds[number], found)
        judged.append(errors)
        pixels, _, size = canvas_of(detector, image)
        seen = layout.without_masks().resized(size)
        with torch.no_grad(), torch.autocast(detector.device.type, enabled=False):
            kinds = crowding(detector(pixels, [size]).detach(), seen)
        sides = area(seen.boxes).sqrt().tolist()
        stages = [None if loss is None else loss.stage for loss in errors.losses]
        objects += [Outcome(*one) for one in zip(sides, kinds, stages, strict=True)]
        layouts.append(seen)
        detections.append(_resized(found, size))
    names = tuple(detector.class_names)
    precision = {
        name: average_precision_above(layouts, detections, names, least)
        for name, least in (("all", 0.0), ("large", float(SMALL_SIDE) ** 2))
    }
    return Diagnosis(ErrorReport(judged, names, thresholds), objects, precision, inverted)


def _resized(found: Detections, size: tuple[int, int]) -> Detections:
    """Return detections in an image that was resized; overlaps stay the same."""
    factors = [size[1] / found.image_size[1], size[0] / found.image_size[0]] * 2
    return replace(found.cpu(), boxes=found.boxes.cpu() * torch.tensor(factors), image_size=size, masks=None)


def _size_name(side: float) -> str:
    """Name the range of `_SIDES` in which a side lies."""
    for low, high in zip((0, *_SIDES), _SIDES, strict=False):
        if side <= high:
            return f"up to {high} px" if not low else f"{low} to {high} px"
    return f"above {_SIDES[-1]} px"
