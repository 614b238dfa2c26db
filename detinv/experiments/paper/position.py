"""Figure 11: on which side of an object its context appears."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from detinv.experiments.common.base import AbstractExperiment
from detinv.experiments.common.central import CentralObjects
from detinv.experiments.common.cooccurrence import NamedDetection, TargetedObject, centre, group_detections
from detinv.experiments.common.setup import ExperimentSetup
from detinv.metrics.intervals import Interval, binomial_p, wilson
from detinv.results.reports.findings import Cell, Figure, Findings, Table
from detinv.viz.charts import bars
from detinv.viz.offsets import offset_panels

_MOST_BARS = 12
DETECTION, ANCHOR = "detection", "anchor"


@dataclass(frozen=True)
class Offset:
    """Where one context detection lies relative to the target object.

    Args:
        name: of the context's class.
        x, y: its centre minus the target object's, in pixels; y points down.
        measured_from: the target object's "detection", or its "anchor" where it was not detected.
    """

    name: str
    x: float
    y: float
    measured_from: str


@dataclass(frozen=True)
class Sides:
    """Counts of context centres on each side; one that lies exactly level counts on neither side of that axis."""

    above: int
    below: int
    left: int
    right: int


class Position(AbstractExperiment):
    """Above or below, left or right: sides of the target object on which each class of context appears.

    Args:
        objects: what is asked for.
        judge: detector that is run on the images instead of the one they were made for.
        once: count only the most certain detection of a class in each image, so that the trials of the test are
            independent; false counts all of them.
        least: pairs with fewer context detections are left out of the bar chart.

    Source: paper, section 4.4.1, figure 11; section G.6 of the method. Departures: see `once`.
    """

    title = "Position of the context (paper, figure 11)"

    def __init__(self, objects: CentralObjects, judge: str | None = None, once: bool = True, least: int = 5) -> None:
        self.objects = objects
        self.judge = judge
        self.once = once
        self.least = least

    def check(self, setup: ExperimentSetup) -> None:
        """See `AbstractExperiment.check`."""
        self.objects.check(setup, self.judge)

    def run(self, setup: ExperimentSetup) -> Findings:
        """Count the sides of every pair of target class and context, with exact binomial tests against one half."""
        found: dict[str, dict[str, list[Offset]]] = {}
        figures = []
        for label in setup.labels:
            detector = setup.detector(label)
            found[label] = {}
            for name in self.objects.names(detector):
                targets = self.objects.targeted(setup, label, name)
                seen = self.objects.detections(setup, label, name, self.judge)
                found[label][name] = [
                    offset for pair in zip(targets, seen, strict=True) for offset in offsets(*pair, once=self.once)
                ]
            size = self.objects.layouts(detector, self.objects.names(detector)[0])[0].image_size
            classes = setup.detector(self.judge or label).class_names
            figures.append(_panels(label, found[label], classes, max(size) / 2))
        pairs = {
            label: {name: by_name(offsets_) for name, offsets_ in by_class.items()} for label, by_class in found.items()
        }
        return Findings(
            numbers={
                "sides": {
                    label: {
                        target: {name: _numbers(sides(mine)) for name, mine in by.items()}
                        for target, by in by_class.items()
                    }
                    for label, by_class in pairs.items()
                },
                "measured_from": {
                    label: _measured([offset for offsets_ in by_class.values() for offset in offsets_])
                    for label, by_class in found.items()
                },
                "offsets": {
                    label: {name: [asdict(offset) for offset in mine] for name, mine in by_class.items()}
                    for label, by_class in found.items()
                },
            },
            tables=[_table(pairs, *axis) for axis in _AXES],
            figures=[*figures, *self._bars(pairs)],
            decided={
                **self.objects.decided,
                "seen by": self.judge or "the detector that the image was made for",
                "centre of the target object": "of its most certain detection, or of the anchor where there is none",
                "counted": "of each class the most certain detection in an image" if self.once else "all detections",
            },
        )

    def _bars(self, pairs: Mapping[str, Mapping[str, Mapping[str, Sequence[Offset]]]]) -> list[Figure]:
        figures = []
        for label, by_class in pairs.items():
            often = sorted(
                ((target, name) for target, by in by_class.items() for name in by if len(by[name]) >= self.least),
                key=lambda pair: -len(by_class[pair[0]][pair[1]]),
            )[:_MOST_BARS]
            if often:
                counted = {pair: sides(by_class[pair[0]][pair[1]]) for pair in often}
                series = {
                    "above": {_pair(pair): _share(one.above, one.below) for pair, one in counted.items()},
                    "left": {_pair(pair): _share(one.left, one.right) for pair, one in counted.items()},
                }
                chart = bars(series, value_title="percent of context", limits=(0, 105), line=50)
                figures.append(
                    Figure(
                        f"sides_{label}",
                        f"Context above and to the left of {label}'s objects",
                        chart,
                        f"Pairs with at least {self.least} detections, with Wilson intervals of 95 %.",
                    )
                )
        return figures


def offsets(target: TargetedObject, seen: Sequence[NamedDetection], once: bool = True) -> list[Offset]:
    """Find where the context in one image lies relative to the target object.

    Args:
        seen: most certain first.
        once: only the first of each class.
    """
    found = group_detections(target, seen)
    x, y = centre(found.target[0].box if found.target else target.anchor)
    measured_from = DETECTION if found.target else ANCHOR
    lying: list[Offset] = []
    for one in found.context:
        if not once or one.name not in {other.name for other in lying}:
            there_x, there_y = centre(one.box)
            lying.append(Offset(one.name, there_x - x, there_y - y, measured_from))
    return lying


def sides(found: Sequence[Offset]) -> Sides:
    """Count the signs of both coordinates."""
    return Sides(
        above=sum(one.y < 0 for one in found),
        below=sum(one.y > 0 for one in found),
        left=sum(one.x < 0 for one in found),
        right=sum(one.x > 0 for one in found),
    )


def by_name(found: Sequence[Offset]) -> dict[str, list[Offset]]:
    """Group the offsets by class, the most frequent class first."""
    names = sorted(dict.fromkeys(one.name for one in found), key=lambda name: -sum(one.name == name for one in found))
    return {name: [one for one in found if one.name == name] for name in names}


def _numbers(counted: Sides) -> dict[str, object]:
    return {
        **asdict(counted),
        "above_p": binomial_p(counted.above, counted.above + counted.below),
        "left_p": binomial_p(counted.left, counted.left + counted.right),
    }


def _measured(found: Sequence[Offset]) -> dict[str, int]:
    return {kind: sum(one.measured_from == kind for one in found) for kind in (DETECTION, ANCHOR)}


def _pair(pair: tuple[str, str]) -> str:
    return f"{pair[0]}: {pair[1]}"


def _share(count: int, other: int) -> Interval:
    return Interval(*(100 * part for part in wilson(count, count + other)))


def _panels(label: str, found: Mapping[str, Sequence[Offset]], class_names: Sequence[str], reach: float) -> Figure:
    places = {
        target: {name: [(one.x, one.y) for one in mine] for name, mine in by_name(offsets_).items()}
        for target, offsets_ in found.items()
    }
    return Figure(
        f"positions_{label}",
        f"Centres of the context around {label}'s objects, in pixels",
        offset_panels(places, class_names, reach),
        "The target object is in the middle of its panel.",
    )


# Of the tables: name, title, the two sides.
_AXES = (
    ("vertical", "Context above and below", "above", "below"),
    ("horizontal", "Context to the left and to the right", "left", "right"),
)


def _table(
    pairs: Mapping[str, Mapping[str, Mapping[str, Sequence[Offset]]]], name: str, title: str, side: str, other: str
) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for label, by_class in pairs.items():
        for target, by in by_class.items():
            for context, mine in by.items():
                counted = asdict(sides(mine))
                one, two = counted[side], counted[other]
                rows.append((label, target, context, one, two, *_share(one, two), binomial_p(one, one + two)))
    return Table(
        name,
        title,
        ("detector", "target", "context", side, other, f"{side} %", "low", "high", "p"),
        rows,
        "p: exact binomial test against one half, two-sided, for one pair alone. Wilson intervals of 95 %.",
        digits=3,
    )
