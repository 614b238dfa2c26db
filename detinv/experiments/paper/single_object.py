"""Figures 8 and 9: what appears when one candidate is asked for one class, and nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from detinv.errors import ConfigError
from detinv.experiments.common.base import AbstractExperiment
from detinv.experiments.common.central import CentralObjects
from detinv.experiments.common.central_pictures import anchor_picture, detections_picture
from detinv.experiments.common.cooccurrence import (
    SCORE_THRESH,
    NamedDetection,
    PixelBox,
    TargetedObject,
    centre,
    group_detections,
)
from detinv.experiments.common.setup import ExperimentSetup
from detinv.metrics.intervals import Interval, wilson
from detinv.results.reports.findings import Cell, Figure, Findings, Table
from detinv.viz.charts import bars
from detinv.viz.sheet import SheetRow, sheet

# Probability above which a single candidate counts as sure.
_SURE = 0.9
Run = tuple[TargetedObject, list[NamedDetection]]
"""One image: what its candidate says, and all detections."""


class SingleObject(AbstractExperiment):
    """Images in which one candidate at the centre is sure of one class, and what the detector then detects in them.

    Args:
        objects: what is asked for.
        examples: images of each class in the picture; 0 for no picture.

    Raises:
        ConfigError: for a negative number of images.

    Source: paper, section 4.4, figures 8 and 9; section G.4 of the method.
    """

    title = "Single objects (paper, figures 8 and 9)"

    def __init__(self, objects: CentralObjects, examples: int = 3) -> None:
        self.objects = objects
        self.examples = examples
        if examples < 0:
            raise ConfigError(f"experiment.examples={examples}: choose 0 or more")

    def check(self, setup: ExperimentSetup) -> None:
        """See `AbstractExperiment.check`."""
        self.objects.check(setup)

    def run(self, setup: ExperimentSetup) -> Findings:
        """Make the images, and report candidate and detections of each."""
        found = {label: self._runs(setup, label) for label in setup.labels}
        by_class = {
            label: {name: sure_share(_of(runs, name)) for name in _names(runs)} for label, runs in found.items()
        }
        percent = {
            label: {name: _percent(value) for name, value in shares.items()} for label, shares in by_class.items()
        }
        return Findings(
            numbers={
                "sure": {label: sure_share(runs) for label, runs in found.items()},
                "sure_by_class": by_class,
                "seen": {label: seen_share(runs) for label, runs in found.items()},
                "images": {
                    label: [{**asdict(target), "seen": [asdict(one) for one in seen]} for target, seen in runs]
                    for label, runs in found.items()
                },
            },
            tables=[_class_table(found), _image_table(found)],
            figures=[
                Figure(
                    "sure",
                    f"Images whose target candidate is sure (p > {_SURE:g})",
                    bars(percent, value_title="percent of images", limits=(0, 105)),
                    "With Wilson intervals of 95 %.",
                ),
                *(self._pictures(setup, label, runs) for label, runs in found.items() if self.examples),
            ],
            decided=self.objects.decided,
        )

    def _runs(self, setup: ExperimentSetup, label: str) -> list[Run]:
        runs: list[Run] = []
        for name in self.objects.names(setup.detector(label)):
            targets, seen = self.objects.targeted(setup, label, name), self.objects.detections(setup, label, name)
            runs += zip(targets, seen, strict=True)
        return runs

    def _pictures(self, setup: ExperimentSetup, label: str, runs: Sequence[Run]) -> Figure:
        class_names = setup.detector(label).class_names
        count = min(self.examples, self.objects.seeds)
        rows = []
        for name in _names(runs):
            mine = _of(runs, name)[:count]
            images = self.objects.images(setup, label, name, count)
            anchors = [anchor_picture(image, one, class_names) for image, (one, _) in zip(images, mine, strict=True)]
            sights = [
                detections_picture(image, seen, class_names) for image, (_, seen) in zip(images, mine, strict=True)
            ]
            rows.append(SheetRow(name, anchors + sights))
        headings = [f"image {k}: target anchor and its p" for k in range(count)]
        headings += [f"image {k}: detections of {label} (contrast stretched for viewing)" for k in range(count)]
        return Figure(f"objects_{label}", f"Single objects of {label}", sheet(headings, rows))


def sure_share(runs: Sequence[Run]) -> Interval:
    """Compute the share of images whose target candidate is sure."""
    return wilson(sum(target.score > _SURE for target, _ in runs), len(runs))


def seen_share(runs: Sequence[Run]) -> Interval:
    """Compute the share of images in which the detector's own inference finds the target object."""
    return wilson(sum(bool(group_detections(target, seen).target) for target, seen in runs), len(runs))


def _names(runs: Sequence[Run]) -> list[str]:
    return list(dict.fromkeys(target.name for target, _ in runs))


def _of(runs: Sequence[Run], name: str) -> list[Run]:
    return [run for run in runs if run[0].name == name]


def _percent(value: Interval) -> Interval:
    return Interval(*(100 * part for part in value))


def _class_table(found: Mapping[str, Sequence[Run]]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for label, runs in found.items():
        for name in _names(runs):
            mine = _of(runs, name)
            read_as = [group_detections(target, seen) for target, seen in mine]
            rows.append(
                (
                    label,
                    name,
                    len(mine),
                    sum(target.score for target, _ in mine) / len(mine),
                    *_percent(sure_share(mine)),
                    100 * seen_share(mine).value,
                    100 * sum(bool(one.confusions) for one in read_as) / len(mine),
                    100 * sum(bool(one.context) for one in read_as) / len(mine),
                )
            )
    return Table(
        "classes",
        "Single objects by class",
        ("detector", "class", "images", "mean p", "sure %", "low", "high", "seen %", "renamed %", "in company %"),
        rows,
        f"Sure: p > {_SURE:g} at the target candidate, with Wilson intervals of 95 %. Seen: found by the detector's "
        f"own inference with score > {SCORE_THRESH:g}. Renamed: another class is seen in the object's place, too. "
        "In company: anything is seen elsewhere.",
        digits=2,
    )


def _image_table(found: Mapping[str, Sequence[Run]]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for label, runs in found.items():
        for target, seen in runs:
            (x, y), (middle_x, middle_y) = centre(target.anchor), centre(target.asked)
            besides = ", ".join(f"{one.name} {one.score:.2f}" for one in seen)
            off = f"{x - middle_x:.1f}, {y - middle_y:.1f}"
            rows.append((label, target.id, target.score, _numbers(target.anchor), off, _numbers(target.box), besides))
    return Table(
        "images",
        "All images",
        ("detector", "image", "p", "anchor", "off centre", "reported box", "seen"),
        rows,
        "Boxes are x0, y0, x1, y1 in pixels. Off centre: x, y of the target anchor's centre from the image's.",
        digits=2,
    )


def _numbers(box: PixelBox) -> str:
    return ", ".join(f"{value:.0f}" for value in box)
