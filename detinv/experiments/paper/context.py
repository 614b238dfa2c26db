"""Figure 10: which classes appear as context of an object that was asked for alone."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from detinv.errors import ConfigError
from detinv.experiments.common.base import AbstractExperiment
from detinv.experiments.common.central import CentralObjects
from detinv.experiments.common.central_pictures import detections_picture
from detinv.experiments.common.context_statistics import (
    Counts,
    Run,
    agreement,
    asymmetries,
    co_occurrence,
    context_counts,
    rate,
    top,
)
from detinv.experiments.common.cooccurrence import NamedDetection, TargetedObject, group_detections
from detinv.experiments.common.setup import ExperimentSetup
from detinv.metrics.intervals import Interval, wilson
from detinv.results.reports.findings import Cell, Figure, Findings, Table
from detinv.viz.charts import bars, heat_map
from detinv.viz.sheet import SheetRow, sheet

# Rows and columns that a heat map has at most, and pairs in the bar chart; the tables have all.
_MOST_CLASSES, _MOST_BARS = 24, 12


class Context(AbstractExperiment):
    """P(k' | k): the share of the images made for class k in which k' is detected as well.

    Each class counts once per image. Further objects of the target class are counted as k' = k, but are left out of the
    list of the most frequent context classes.

    Args:
        objects: what is asked for.
        judge: detector that is run on the images instead of the one they were made for: a second opinion.
        top: context classes listed for each target class.
        control: whether the context is compared with the co-occurrence of classes in the layouts; needs layouts of
            a world or of annotations.
        examples: images of each class in the picture; 0 for no picture.

    Raises:
        ConfigError: for a negative number of images.

    Source: paper, section 4.4.1, figure 10; section G.5 of the method.
    """

    title = "Context of single objects (paper, figure 10)"

    def __init__(
        self,
        objects: CentralObjects,
        judge: str | None = None,
        top: int = 6,
        control: bool = True,
        examples: int = 3,
    ) -> None:
        self.objects = objects
        self.judge = judge
        self.top = top
        self.control = control
        self.examples = examples
        if examples < 0:
            raise ConfigError(f"experiment.examples={examples}: choose 0 or more")

    def check(self, setup: ExperimentSetup) -> None:
        """See `AbstractExperiment.check`."""
        self.objects.check(setup, self.judge)
        if self.control:
            setup.check_layouts()

    def run(self, setup: ExperimentSetup) -> Findings:
        """Count the context of every target class, and compare directions and the layouts' own co-occurrence."""
        counts, images, figures = {}, {}, []
        for label in setup.labels:
            names = self.objects.names(setup.detector(label))
            runs = {
                name: list(
                    zip(
                        self.objects.targeted(setup, label, name),
                        self.objects.detections(setup, label, name, self.judge),
                        strict=True,
                    )
                )
                for name in names
            }
            classes = setup.detector(self.judge or label).class_names
            counts[label] = {name: context_counts(mine, classes) for name, mine in runs.items()}
            images[label] = {name: [_record(*run) for run in mine] for name, mine in runs.items()}
            figures += [_matrix_figure(label, counts[label]), *self._pictures(setup, label, runs)]
        intervals = {label: _intervals(mine) for label, mine in counts.items()}
        asymmetry = {label: asymmetries(mine) for label, mine in counts.items()}
        control = {label: self._control(setup, label, mine) for label, mine in counts.items()} if self.control else {}
        tops = {label: {name: top(by, name, self.top) for name, by in mine.items()} for label, mine in counts.items()}
        return Findings(
            numbers={
                "rates": intervals,
                "top": tops,
                "asymmetry": asymmetry,
                "control": {label: numbers for label, (numbers, _) in control.items()},
                "images": images,
            },
            tables=[
                _top_table(tops, counts),
                *(_matrix_table(label, mine) for label, mine in counts.items()),
                _asymmetry_table(asymmetry),
                *([_control_table(control)] if control else []),
                _confusion_table(images),
            ],
            figures=[_bar_figure(tops, counts), *figures],
            decided={
                **self.objects.decided,
                "seen by": self.judge or "the detector that the image was made for",
                "counted": "each class once an image",
            },
        )

    def _control(self, setup: ExperimentSetup, label: str, counts: Counts) -> tuple[dict[str, Any], Counts]:
        found = co_occurrence(setup.layouts(label, masks=False), setup.detector(label).class_names)
        return agreement(counts, found), found

    def _pictures(
        self,
        setup: ExperimentSetup,
        label: str,
        runs: Mapping[str, Sequence[Run]],
    ) -> list[Figure]:
        if not self.examples:
            return []
        judge = self.judge or label
        class_names = setup.detector(judge).class_names
        count = min(self.examples, self.objects.seeds)
        rows = []
        for name, mine in runs.items():
            images = self.objects.images(setup, label, name, count)
            cells = [
                detections_picture(image, seen, class_names) for image, (_, seen) in zip(images, mine, strict=False)
            ]
            rows.append(SheetRow(name, cells))
        headings = [f"image {k}: detections of {judge} (contrast stretched for viewing)" for k in range(count)]
        return [Figure(f"context_{label}", f"Single objects of {label} and their context", sheet(headings, rows))]


def _record(target: TargetedObject, seen: Sequence[NamedDetection]) -> dict[str, Any]:
    found = group_detections(target, seen)
    return {
        "id": target.id,
        "score": target.score,
        "seen": bool(found.target),
        "context": sorted({one.name for one in found.context}),
        "confusions": sorted({one.name for one in found.confusions}),
    }


def _intervals(counts: Counts) -> dict[str, dict[str, Interval]]:
    return {name: {other: wilson(*count) for other, count in by.items()} for name, by in counts.items()}


def _percent(count: tuple[int, int]) -> Interval:
    return Interval(*(100 * part for part in wilson(*count)))


def _top_table(tops: Mapping[str, Mapping[str, Sequence[str]]], counts: Mapping[str, Counts]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for label, by_class in tops.items():
        for target, names in by_class.items():
            if not names:
                rows.append((label, target, None, None, None, None, 0, next(iter(counts[label][target].values()))[1]))
            for name in names:
                count = counts[label][target][name]
                rows.append((label, target, name, *_percent(count), *count))
    return Table(
        "top",
        "The most frequent context of each class",
        ("detector", "target", "context", "% of images", "low", "high", "images with it", "images"),
        rows,
        "Each class counts once an image. Wilson intervals of 95 %.",
    )


def _matrix_table(label: str, counts: Counts) -> Table:
    columns = list(next(iter(counts.values())))
    return Table(
        f"rates_{label}",
        f"Percent of {label}'s images of the row's class that show the column's class as well",
        ("target", *columns),
        [(name, *(100 * rate(by[column]) for column in columns)) for name, by in counts.items()],
    )


def _asymmetry_table(asymmetry: Mapping[str, Sequence[Mapping[str, Any]]]) -> Table:
    return Table(
        "asymmetry",
        "Context in one direction and the other",
        ("detector", "target", "context", "% of images", "% the other way round", "p"),
        [
            (label, pair["target"], pair["context"], 100 * pair["rate"], 100 * pair["reverse"], pair["p"])
            for label, pairs in asymmetry.items()
            for pair in pairs
        ],
        "p: one-sided, that the first rate is the larger one, for one pair alone; the larger rate was chosen to be the "
        "first.",
        digits=3,
    )


def _control_table(control: Mapping[str, tuple[Mapping[str, Any], Counts]]) -> Table:
    return Table(
        "control",
        "Does the context follow the co-occurrence of classes in the layouts?",
        ("detector", "with the layouts' rates", "with the transposed rates", "ordered pairs"),
        [(label, found["same"], found["transposed"], found["pairs"]) for label, (found, _) in control.items()],
        "Spearman's rank correlation of P(k' | k) in the images with that in the layouts.",
        digits=2,
    )


def _confusion_table(images: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for label, by_class in images.items():
        for target, mine in by_class.items():
            names = Counter(name for image in mine for name in image["confusions"])
            rows += [(label, target, name, count, len(mine)) for name, count in names.most_common()]
    return Table(
        "confusions",
        "Other names for the target object",
        ("detector", "target", "seen in its place, too", "in images", "of"),
        rows,
        "Not counted as context: another class at the very place of the target object.",
    )


def _matrix_figure(label: str, counts: Counts) -> Figure:
    rows = list(counts)[:_MOST_CLASSES]
    every = list(next(iter(counts.values())))
    often = sorted(every, key=lambda name: -sum(by[name][0] for by in counts.values()))[:_MOST_CLASSES]
    columns = [name for name in every if name in often]
    note = "" if len(rows) == len(counts) and len(columns) == len(every) else "The table has all classes."
    values = [[100 * rate(counts[row][column]) for column in columns] for row in rows]
    return Figure(
        f"matrix_{label}",
        f"Context of {label}'s single objects, percent of images",
        heat_map(values, rows, columns, row_title="target", column_title="also detected"),
        note,
    )


def _bar_figure(tops: Mapping[str, Mapping[str, Sequence[str]]], counts: Mapping[str, Counts]) -> Figure:
    best: dict[tuple[str, str], float] = {}
    for label, by_class in tops.items():
        for target, names in by_class.items():
            for name in names:
                best[target, name] = max(best.get((target, name), 0), rate(counts[label][target][name]))
    pairs = sorted(best, key=lambda pair: -best[pair])[:_MOST_BARS]
    series = {
        label: {
            f"{target}: {name}": _percent(mine[target][name])
            for target, name in pairs
            if target in mine and name in mine[target]
        }
        for label, mine in counts.items()
    }
    return Figure(
        "top",
        "The most frequent pairs of target class and context",
        bars(series, value_title="percent of images", limits=(0, 105)),
        "With Wilson intervals of 95 %.",
    )
