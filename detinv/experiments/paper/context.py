"""Figure 10: which classes appear beside an object that nobody asked company for."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from scipy.stats import spearmanr

from detinv.errors import ConfigError
from detinv.experiments.common.base import AbstractExperiment
from detinv.experiments.common.central import CentralObjects
from detinv.experiments.common.central_pictures import detections_picture
from detinv.experiments.common.cooccurrence import NamedDetection, TargetedObject, group_detections
from detinv.experiments.common.setup import ExperimentSetup
from detinv.layouts.layout import Layout
from detinv.metrics.intervals import Interval, two_proportions_p, wilson
from detinv.results.reports.findings import Cell, Figure, Findings, Table
from detinv.viz.charts import bars, heat_map
from detinv.viz.sheet import SheetRow, sheet

Run = tuple[TargetedObject, Sequence[NamedDetection]]
"""One image: the output of its candidate, and all detections."""
Counts = dict[str, dict[str, tuple[int, int]]]
"""By driven class, by context class: images that show it, and images."""

# Rows and columns that a heat map has at most, and pairs in the bar chart; the tables have all.
_MOST_CLASSES, _MOST_BARS = 24, 12


class Context(AbstractExperiment):
    """P(k' | k): the share of images of a driven k in which k' is seen besides.

    Each class counts once an image. More objects of the driven class itself, apart from the driven one, are counted as
    k' = k; they are no context in the list of the most frequent ones.

    Args:
        objects: what is asked for.
        judge: detector that looks at the images instead of the one they were made for: a second opinion.
        top: context classes listed for each driven class.
        control: whether the classes' company in the layouts is compared with the context; needs layouts that come from
            a world or from annotations.
        shown: images of each class in the picture; 0 for no picture.

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
        shown: int = 3,
    ) -> None:
        self.objects = objects
        self.judge = judge
        self.top = top
        self.control = control
        self.shown = shown
        if shown < 0:
            raise ConfigError(f"experiment.shown={shown}: choose 0 or more")

    def run(self, setup: ExperimentSetup) -> Findings:
        """Frequencies by driven class, their asymmetry, and how they go with the layouts' own."""
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
                _rival_table(images),
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
        if not self.shown:
            return []
        judge = self.judge or label
        class_names = setup.detector(judge).class_names
        shown = min(self.shown, self.objects.seeds)
        rows = []
        for name, mine in runs.items():
            images = self.objects.images(setup, label, name, shown)
            cells = [
                detections_picture(image, seen, class_names) for image, (_, seen) in zip(images, mine, strict=False)
            ]
            rows.append(SheetRow(name, cells))
        headings = [f"image {k}: what {judge} sees (contrast stretched for viewing)" for k in range(shown)]
        return [Figure(f"context_{label}", f"Single objects of {label} and their context", sheet(headings, rows))]


def context_counts(runs: Sequence[Run], class_names: Sequence[str]) -> dict[str, tuple[int, int]]:
    """By class, in how many of the images it is seen as context, and the number of images.

    Args:
        runs: of one driven class: what its candidate says, and all that is seen in the image.
        class_names: of whoever looked.
    """
    shown = [{one.name for one in group_detections(driven, seen).context} for driven, seen in runs]
    return {name: (sum(name in names for names in shown), len(runs)) for name in class_names}


def top(counts: Mapping[str, tuple[int, int]], driven: str, most: int) -> list[str]:
    """The classes most often seen beside `driven`, itself left out, most frequent first; none that never was."""
    seen = [name for name, (count, _) in counts.items() if count and name != driven]
    return sorted(seen, key=lambda name: -counts[name][0])[:most]


def asymmetries(counts: Counts) -> list[dict[str, Any]]:
    """Pairs of driven classes whose rates differ by direction, most certain first.

    Each has the class `beside`, seen more often next to `driven` than the other way round: both rates, and the
    one-sided p-value of their difference, for one pair alone. Pairs never seen together are left out.
    """
    found = []
    for first, second in combinations(counts, 2):
        if second not in counts[first] or first not in counts[second]:
            continue
        there, back = counts[first][second], counts[second][first]
        if not there[0] and not back[0]:
            continue
        driven, beside = first, second
        if back[0] * there[1] > there[0] * back[1]:
            driven, beside, there, back = second, first, back, there
        found.append(
            {
                "driven": driven,
                "beside": beside,
                "rate": there[0] / there[1],
                "reverse": back[0] / back[1],
                "p": two_proportions_p(there, back),
            }
        )
    return sorted(found, key=lambda pair: pair["p"])


def co_occurrence(layouts: Sequence[Layout], class_names: Sequence[str]) -> Counts:
    """By class, by other class: layouts with both, and layouts with the first."""
    present = [{class_names[label] for label in layout.labels.tolist()} for layout in layouts]
    return {
        first: {
            second: (sum({first, second} <= names for names in present), sum(first in names for names in present))
            for second in class_names
            if second != first
        }
        for first in class_names
    }


def agreement(counts: Counts, layouts: Counts) -> dict[str, Any]:
    """Rank correlation of the context's rates with the layouts', over all ordered pairs of two classes.

    "same" compares P(k' | k) with the layouts' P(k' | k), "transposed" with their P(k | k'): a context that is more
    than mere company follows the first more closely. None where either side is constant.
    """
    pairs = [
        (first, second)
        for first, by in counts.items()
        for second in by
        if first != second and layouts.get(first, {}).get(second, (0, 0))[1] and layouts[second][first][1]
    ]
    context = [_rate(counts[first][second]) for first, second in pairs]
    same = [_rate(layouts[first][second]) for first, second in pairs]
    transposed = [_rate(layouts[second][first]) for first, second in pairs]
    return {"same": _spearman(context, same), "transposed": _spearman(context, transposed), "pairs": len(pairs)}


def _record(driven: TargetedObject, seen: Sequence[NamedDetection]) -> dict[str, Any]:
    found = group_detections(driven, seen)
    return {
        "id": driven.id,
        "score": driven.score,
        "seen": bool(found.target),
        "context": sorted({one.name for one in found.context}),
        "rivals": sorted({one.name for one in found.confusions}),
    }


def _rate(count: tuple[int, int]) -> float:
    return count[0] / count[1]


def _spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    if len(set(first)) < 2 or len(set(second)) < 2:
        return None
    return float(spearmanr(first, second).statistic)


def _intervals(counts: Counts) -> dict[str, dict[str, Interval]]:
    return {name: {other: wilson(*count) for other, count in by.items()} for name, by in counts.items()}


def _percent(count: tuple[int, int]) -> Interval:
    return Interval(*(100 * part for part in wilson(*count)))


def _top_table(tops: Mapping[str, Mapping[str, Sequence[str]]], counts: Mapping[str, Counts]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for label, by_class in tops.items():
        for driven, names in by_class.items():
            if not names:
                rows.append((label, driven, None, None, None, None, 0, next(iter(counts[label][driven].values()))[1]))
            for name in names:
                count = counts[label][driven][name]
                rows.append((label, driven, name, *_percent(count), *count))
    return Table(
        "top",
        "The most frequent context of each class",
        ("detector", "driven", "context", "% of images", "low", "high", "images with it", "images"),
        rows,
        "Each class counts once an image. Wilson intervals of 95 %.",
    )


def _matrix_table(label: str, counts: Counts) -> Table:
    columns = list(next(iter(counts.values())))
    return Table(
        f"rates_{label}",
        f"Percent of {label}'s images of the row's class that show the column's class besides",
        ("driven", *columns),
        [(name, *(100 * _rate(by[column]) for column in columns)) for name, by in counts.items()],
    )


def _asymmetry_table(asymmetry: Mapping[str, Sequence[Mapping[str, Any]]]) -> Table:
    return Table(
        "asymmetry",
        "Context in one direction and the other",
        ("detector", "driven", "context", "% of images", "% the other way round", "p"),
        [
            (label, pair["driven"], pair["beside"], 100 * pair["rate"], 100 * pair["reverse"], pair["p"])
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
        "Does the context follow the company that classes keep in the layouts?",
        ("detector", "with the layouts' rates", "with the transposed rates", "ordered pairs"),
        [(label, found["same"], found["transposed"], found["pairs"]) for label, (found, _) in control.items()],
        "Spearman's rank correlation of P(k' | k) in the images with that in the layouts.",
        digits=2,
    )


def _rival_table(images: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for label, by_class in images.items():
        for driven, mine in by_class.items():
            names = Counter(name for image in mine for name in image["rivals"])
            rows += [(label, driven, name, count, len(mine)) for name, count in names.most_common()]
    return Table(
        "rivals",
        "Other names for the driven object",
        ("detector", "driven", "seen in its place, too", "in images", "of"),
        rows,
        "Not counted as context: another class at the very place of the driven object.",
    )


def _matrix_figure(label: str, counts: Counts) -> Figure:
    rows = list(counts)[:_MOST_CLASSES]
    every = list(next(iter(counts.values())))
    often = sorted(every, key=lambda name: -sum(by[name][0] for by in counts.values()))[:_MOST_CLASSES]
    columns = [name for name in every if name in often]
    note = "" if len(rows) == len(counts) and len(columns) == len(every) else "The table has all classes."
    values = [[100 * _rate(counts[row][column]) for column in columns] for row in rows]
    return Figure(
        f"matrix_{label}",
        f"Context of {label}'s single objects, percent of images",
        heat_map(values, rows, columns, row_title="driven", column_title="seen besides"),
        note,
    )


def _bar_figure(tops: Mapping[str, Mapping[str, Sequence[str]]], counts: Mapping[str, Counts]) -> Figure:
    best: dict[tuple[str, str], float] = {}
    for label, by_class in tops.items():
        for driven, names in by_class.items():
            for name in names:
                best[driven, name] = max(best.get((driven, name), 0), _rate(counts[label][driven][name]))
    pairs = sorted(best, key=lambda pair: -best[pair])[:_MOST_BARS]
    series = {
        label: {
            f"{driven}: {name}": _percent(mine[driven][name])
            for driven, name in pairs
            if driven in mine and name in mine[driven]
        }
        for label, mine in counts.items()
    }
    return Figure(
        "top",
        "The most frequent pairs of driven class and context",
        bars(series, value_title="percent of images", limits=(0, 105)),
        "With Wilson intervals of 95 %.",
    )
