"""Figure 12: the same object asked for at several sizes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from detinv.errors import ConfigError
from detinv.experiments.common.base import AbstractExperiment
from detinv.experiments.common.central import CentralObjects
from detinv.experiments.common.central_pictures import anchor_picture
from detinv.experiments.common.cooccurrence import (
    SAME_OBJECT_IOU,
    NamedDetection,
    PixelBox,
    TargetedObject,
    group_detections,
    iou,
)
from detinv.experiments.common.provenance import image_hash
from detinv.experiments.common.setup import ExperimentSetup
from detinv.metrics.intervals import Interval, mean_interval, wilson
from detinv.results.reports.findings import Cell, Figure, Findings, Table
from detinv.viz.charts import lines
from detinv.viz.sheet import SheetRow, sheet

ALL = "all"


@dataclass(frozen=True)
class Measured:
    """What is measured of one image.

    Args:
        target: what its candidate says.
        context: detections other than the target object.
        agreed: whether the second detector finds the object; None without one.
        energy_outside: share of the image's energy outside the box asked for; see `energy_outside`.
        area_outside: share of the image's area outside that box.
    """

    target: TargetedObject
    context: int
    agreed: bool | None
    energy_outside: float
    area_outside: float


@dataclass(frozen=True)
class Summary:
    """Of a group of images, each with its interval.

    Args:
        images: how many there are.
        score: mean probability at the target candidate.
        context: mean number of context detections an image.
        agreed: share in which the second detector finds the object; None without one.
        energy_outside: mean share of the energy outside the box.
        density: mean of that share over the share of the area outside: 1 for energy spread evenly.
    """

    images: int
    score: Interval
    context: Interval
    agreed: Interval | None
    energy_outside: Interval
    density: Interval


class Scale(AbstractExperiment):
    """How context, agreement of a second detector, energy outside the box and probability change with size.

    Args:
        objects: what is asked for; its side is not used.
        sides: square roots of the boxes' areas, in pixels of the network's input.
        judge: the second detector; null for none. A detector is not its own second.

    Raises:
        ConfigError: for no side.

    Source: paper, section 4.4.2, figure 12; section G.7 of the method.
    """

    title = "Single objects by size (paper, figure 12)"

    def __init__(
        self,
        objects: CentralObjects,
        sides: Sequence[float] = (32, 64, 128, 256, 512),
        judge: str | None = None,
    ) -> None:
        if not sides:
            raise ConfigError("experiment.sides=[]: give at least one side in pixels")
        self.by_side = {float(side): objects.of_side(side) for side in sorted(set(sides))}
        self.objects = objects
        self.judge = judge

    def check(self, setup: ExperimentSetup) -> None:
        """See `AbstractExperiment.check`."""
        for objects in self.by_side.values():
            objects.check(setup, self.judge)

    def run(self, setup: ExperimentSetup) -> Findings:
        """Measure the images of every detector, class and side."""
        found: dict[str, dict[str, dict[float, list[Measured]]]] = {}
        for label in setup.labels:
            detector = setup.detector(label)
            found[label] = {
                name: {side: self._images(setup, label, name, side) for side in self.by_side}
                for name in self.objects.names(detector)
            }
        summaries = {label: _summaries(by_class) for label, by_class in found.items()}
        return Findings(
            numbers={
                "by_side": {
                    label: {name: {f"{side:g}": vars(one) for side, one in by.items()} for name, by in by_class.items()}
                    for label, by_class in summaries.items()
                },
            },
            tables=[_side_table(summaries), _class_table(summaries)],
            figures=[
                *(_chart(summaries, *measure) for measure in _MEASURES if _known(summaries, measure[0])),
                *(self._pictures(setup, label, by_class) for label, by_class in found.items()),
            ],
            decided={
                **self.objects.decided,
                "energy": "sum of squared deviations from the colour that images start from (the network's mean "
                "colour), over channels and pixels of the saved image",
                "outside": "beyond the box asked for",
                "second detector": (
                    f"{self.judge}: a detection of the class with score > 0.5 whose IoU with the box that the target "
                    f"candidate reports exceeds {SAME_OBJECT_IOU:g}"
                    if self.judge
                    else "none"
                ),
            },
        )

    def _images(self, setup: ExperimentSetup, label: str, name: str, side: float) -> list[Measured]:
        objects = self.by_side[side]
        targets = objects.targeted(setup, label, name)
        seen = objects.detections(setup, label, name)
        judged: Sequence[Sequence[NamedDetection] | None] = [None] * len(targets)
        if self.judge is not None and self.judge != label:
            judged = objects.detections(setup, label, name, self.judge)

        images = objects.images(setup, label, name)
        colour = setup.detector(label).pixel_mean.flatten().cpu()

        def compute() -> list[float]:
            return [energy_outside(image, one.asked, colour) for image, one in zip(images, targets, strict=True)]

        provenance = setup.provenance(images=image_hash(images), boxes=[one.asked for one in targets], colour=colour)
        energies = setup.keep(f"energy/{objects.key(setup, label, name)}", provenance, compute)
        size = objects.layouts(setup.detector(label), name)[0].image_size
        return [
            Measured(
                one,
                len(group_detections(one, mine).context),
                None if theirs is None else agrees(one, theirs),
                float("nan") if energy is None else energy,
                area_outside(one.asked, size),
            )
            for one, mine, theirs, energy in zip(targets, seen, judged, energies, strict=True)
        ]

    def _pictures(
        self, setup: ExperimentSetup, label: str, by_class: Mapping[str, Mapping[float, Sequence[Measured]]]
    ) -> Figure:
        class_names = setup.detector(label).class_names
        rows = []
        for name, by_side in by_class.items():
            cells = [
                anchor_picture(self.by_side[side].images(setup, label, name, count=1)[0], images[0].target, class_names)
                for side, images in by_side.items()
            ]
            rows.append(SheetRow(name, cells))
        headings = [f"side {side:g}: target anchor and its p" for side in self.by_side]
        return Figure(f"sides_{label}", f"Single objects of {label} by size", sheet(headings, rows))


def energy_outside(image: UInt8[Tensor, "3 height width"], box: PixelBox, colour: Float[Tensor, " 3"]) -> float:
    """Compute the share of squared deviations from `colour` beyond the box; NaN for an image of just that colour.

    Args:
        image: RGB.
        box: a pixel belongs to it when its centre does.
        colour: in [0, 1].
    """
    energy = (image.float() / 255 - colour.float()[:, None, None]).double().square().sum(0)
    rows = torch.arange(image.shape[1]) + 0.5
    columns = torch.arange(image.shape[2]) + 0.5
    inside = ((rows >= box[1]) & (rows < box[3]))[:, None] & ((columns >= box[0]) & (columns < box[2]))
    whole = float(energy.sum())
    return float(energy[~inside].sum()) / whole if whole else float("nan")


def area_outside(box: PixelBox, image_size: tuple[int, int]) -> float:
    """Compute the share of the image's area that is outside a box."""
    return 1 - (box[2] - box[0]) * (box[3] - box[1]) / (image_size[0] * image_size[1])


def agrees(target: TargetedObject, seen: Sequence[NamedDetection]) -> bool:
    """Tell whether the target class is detected where the target candidate reports it."""
    return any(one.name == target.name and iou(one.box, target.box) > SAME_OBJECT_IOU for one in seen)


def summarised(images: Sequence[Measured]) -> Summary:
    """Compute means and shares of a group of images."""
    agreed = [one.agreed for one in images if one.agreed is not None]
    return Summary(
        images=len(images),
        score=mean_interval([one.target.score for one in images]),
        context=mean_interval([one.context for one in images]),
        agreed=wilson(sum(agreed), len(agreed)) if agreed else None,
        energy_outside=mean_interval([one.energy_outside for one in images]),
        density=mean_interval([one.energy_outside / one.area_outside for one in images if one.area_outside > 0]),
    )


# Of the figures: attribute, title, and whether it is shown in percent.
_MEASURES = (
    ("context", "Context detections an image", False),
    ("agreed", "Images in which the second detector finds the object, percent", True),
    ("energy_outside", "Energy outside the box, percent", True),
    ("score", "Probability at the target candidate, percent", True),
)


def _summaries(
    by_class: Mapping[str, Mapping[float, Sequence[Measured]]],
) -> dict[str, dict[float, Summary]]:
    """By class, and of all classes together, by side."""
    sides = next(iter(by_class.values()))
    everything = {side: [image for by in by_class.values() for image in by[side]] for side in sides}
    groups: dict[str, Mapping[float, Sequence[Measured]]] = {**by_class, ALL: everything}
    return {name: {side: summarised(images) for side, images in by.items()} for name, by in groups.items()}


def _known(summaries: Mapping[str, Mapping[str, Mapping[float, Summary]]], measure: str) -> bool:
    return any(getattr(one, measure) is not None for by_class in summaries.values() for one in by_class[ALL].values())


def _chart(
    summaries: Mapping[str, Mapping[str, Mapping[float, Summary]]], measure: str, title: str, percent: bool
) -> Figure:
    factor = 100 if percent else 1
    series: dict[str, list[tuple[float, Any]]] = {}
    for label, by_class in summaries.items():
        points = [(side, getattr(one, measure)) for side, one in by_class[ALL].items()]
        if all(value is not None for _, value in points):
            series[label] = [(side, Interval(*(factor * part for part in value))) for side, value in points]
    chart = lines(series, place_title="side of the box, pixels", value_title=title, logarithmic=True)
    return Figure(f"by_side_{measure}", title, chart, "All classes together, with intervals of 95 %.")


def _side_table(summaries: Mapping[str, Mapping[str, Mapping[float, Summary]]]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for label, by_class in summaries.items():
        for side, one in by_class[ALL].items():
            agreed: tuple[Cell, ...] = (None,) * 3 if one.agreed is None else tuple(100 * part for part in one.agreed)
            rows.append((label, side, one.images, *one.context, *agreed))
    return Table(
        "by_side",
        "Context and agreement by side, all classes together",
        ("detector", "side", "images", "context an image", "low", "high", "second sees it %", "from", "to"),
        rows,
        "Second sees it: a second detector finds the object. Bootstrap intervals of means, Wilson intervals of shares, "
        "95 %.",
        digits=2,
    )


def _class_table(summaries: Mapping[str, Mapping[str, Mapping[float, Summary]]]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for label, by_class in summaries.items():
        for name, by_side in by_class.items():
            for side, one in by_side.items():
                agreed = None if one.agreed is None else 100 * one.agreed.value
                energy = 100 * one.energy_outside.value
                rows.append((label, name, side, one.score.value, one.context.value, agreed, energy, one.density.value))
    return Table(
        "by_class",
        "All measures by class and side",
        ("detector", "class", "side", "mean p", "context", "second %", "energy outside %", "over area"),
        rows,
        "Means. Over area: energy outside the box over area outside the box, 1 where energy is spread evenly.",
        digits=2,
    )
