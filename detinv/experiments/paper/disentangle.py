"""Figure 5: inversions with some of the loss terms only, and what a second detector makes of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from detinv.detectors.base import AbstractDetector
from detinv.detectors.canvas import blank_canvas
from detinv.errors import ConfigError
from detinv.experiments.common.base import AbstractExperiment
from detinv.experiments.common.evaluation import MEASURES, SCORES, Evaluation, evaluate
from detinv.experiments.common.setup import ExperimentSetup
from detinv.experiments.common.store import Images
from detinv.inputs.printable import quoted
from detinv.layouts.batch import canvas_size
from detinv.layouts.layout import Layout
from detinv.layouts.relabelling import relabelled
from detinv.metrics.intervals import Interval
from detinv.results.io.names import file_stems
from detinv.results.reports.findings import Cell, Figure, Findings, Table
from detinv.viz.charts import bars
from detinv.viz.draw import draw_layout
from detinv.viz.image import Picture, rescale, scale_within
from detinv.viz.sheet import SheetRow, sheet

PARTS: dict[str, tuple[str, ...]] = {
    "cls": ("cls", "positive", "centerness", "objectness", "roi_cls", "roi_positive"),
    "reg": ("reg", "dfl", "l1", "deltas", "roi_reg"),
    "mask": ("roi_mask",),
}
"""The loss terms of each part of a condition."""
PROPOSALS = ("rpn_cls", "rpn_reg", "encoder_cls", "encoder_reg", "encoder_l1", "encoder_positive")
"""Terms of what proposes: a region proposal network, or the tokens among which a transformer chooses its queries."""
NOISE, REAL = "noise", "real images"
_OFF = ", rpn off"
# Those whose differences the report shows; all are among the numbers.
_COMPARED = ("box_iou", "class_accuracy", "box_border", "mask_border")
# Width of one picture in the figure, in pixels.
_CELL = 256


@dataclass(frozen=True)
class Condition:
    """Which parts of the loss are there.

    Args:
        parts: some of `PARTS`.
        proposals: whether the terms of what proposes are, too.
    """

    parts: tuple[str, ...]
    proposals: bool = True

    @property
    def name(self) -> str:
        """The name in tables."""
        return "+".join(self.parts) + ("" if self.proposals else _OFF)

    @property
    def key(self) -> str:
        """The name in keys of the store."""
        return "_".join(self.parts) + ("" if self.proposals else "_rpn_off")

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of all its terms, including those that a detector does not have."""
        return (*(term for part in self.parts for term in PARTS[part]), *(PROPOSALS if self.proposals else ()))


class Disentangle(AbstractExperiment):
    """Every detector inverted with parts of its loss, judged by a second one: does it find boxes and classes?

    Of every object: the best IoU of its box with a box that the judge reports for whatever class; whether the class
    that the judge prefers at the object's own place is the right one; and how much of the edge energy lies along its
    border.

    Args:
        conditions: parts joined by a plus sign, of "cls", "reg" and "mask"; those with masks are for detectors that
            have them.
        rpn_off: conditions that are also run without the terms of what proposes, on detectors with two stages.
        judge: label or registered name of the detector that judges; by default, and for itself, the first other one of
            the setup.
        score_thresh: boxes of the judge count from a score above this one. Lower ones than the default let chance in:
            at 0.1 some one-stage detectors report boxes wherever there is noise.
        references: whether noise (start images) and the layouts' photographs, where there are any, are judged as well.
        examples: layouts in the picture.

    Raises:
        ConfigError: for a condition that cannot be read, or a number out of range.

    Source: paper, section 4.3, figure 5; section G.2 of the method.
    """

    title = "Disentangled losses (paper, figure 5)"

    def __init__(
        self,
        conditions: Sequence[str] = ("cls+reg+mask", "mask", "cls", "reg", "cls+reg"),
        rpn_off: Sequence[str] = ("cls", "reg"),
        judge: str | None = None,
        score_thresh: float = 0.3,
        references: bool = True,
        examples: int = 6,
    ) -> None:
        if not conditions and not rpn_off:
            raise ConfigError("experiment.conditions=[]: name at least one, such as cls or reg")
        if not 0 <= score_thresh < 1:
            raise ConfigError(f"experiment.score_thresh={score_thresh}: choose a number from 0 to below 1")
        if examples < 0:
            raise ConfigError(f"experiment.examples={examples}: choose 0 or more")
        self.conditions = tuple(_read(text) for text in conditions)
        self.rpn_off = tuple(replace(_read(text), proposals=False) for text in rpn_off)
        self.judge = judge
        self.score_thresh = score_thresh
        self.references = references
        self.examples = examples

    def check(self, setup: ExperimentSetup) -> None:
        """See `AbstractExperiment.check`."""
        setup.check_layouts()
        for label in setup.labels:
            judge = self._judge_of(setup, label)
            names, layouts = setup.detector(label).class_names, setup.layouts(label, masks=False)
            asked = {names[number] for layout in layouts for number in layout.labels.tolist()}
            if lacking := sorted(asked.difference(setup.detector(judge).class_names)):
                raise ConfigError(
                    f"{judge} cannot judge the images of {label}: it does not know {quoted(lacking[0])}; name another "
                    "detector with experiment.judge=NAME"
                )

    def run(self, setup: ExperimentSetup) -> Findings:
        """Invert every detector under all conditions that it has terms for, and judge the images.

        Raises:
            ConfigError: when there is no second detector to judge.
        """
        judges = {label: self._judge_of(setup, label) for label in setup.labels}
        numbers: dict[str, Any] = {}
        measures: list[tuple[Cell, ...]] = []
        pairs: list[tuple[Cell, ...]] = []
        figures = []
        for stem, (label, judge) in zip(file_stems(setup.labels), judges.items(), strict=True):
            layouts = setup.layouts(label)
            images = self._images(setup, label, stem, layouts)
            setup.log(f"{judge} judges the inversions of {label}")
            evaluations = {name: self._evaluate(setup, label, judge, *made) for name, made in images.items()}
            numbers[label] = self._numbers(judge, layouts, evaluations)
            measures += _measure_rows(label, judge, numbers[label]["conditions"])
            pairs += _pair_rows(label, judge, numbers[label]["differences"])
            figures += self._figures(setup, label, stem, layouts, images, evaluations)
        return Findings(
            numbers=numbers,
            tables=[
                Table(
                    "conditions",
                    "What the judge finds in the images of each condition",
                    ("inverted", "judge", "condition", *SCORES, *MEASURES.values()),
                    measures,
                    "AP in percent, of boxes and classes together; all else is a mean over objects, in [0, 1].",
                    digits=2,
                ),
                Table(
                    "differences",
                    "Differences between two conditions, object by object",
                    ("inverted", "judge", "pair", "measure", "difference", "low", "high"),
                    pairs,
                    "Mean of the paired differences with its 95 % interval (jackknife over layouts).",
                    digits=3,
                ),
            ],
            figures=figures,
            decided={
                "parts": "; ".join(f"{part}: {', '.join(terms)}" for part, terms in PARTS.items()),
                "rpn terms": f"on, unless the condition says off: {', '.join(PROPOSALS)}",
                "judge": "a detector that took no part in the inversion, by its own inference on the saved images",
                "box IoU": f"best of the judge's boxes with a score above {self.score_thresh:g}, of whatever class",
                "class accuracy": "the class that the judge scores highest at the object's own place: of a second "
                "stage at the object's box, of a dense head in the row that reports it; without threshold or "
                "suppression",
                "edges": "share along the border: mean edge energy in a band of 5 % of the object's sides (at least 2 "
                "pixels) to both sides, over the sum of that and the mean inside; one half when edges lie anywhere",
                "intervals": "95 %, jackknife over layouts",
            },
        )

    def _judge_of(self, setup: ExperimentSetup, label: str) -> str:
        wanted = [self.judge] if self.judge is not None else []
        judge = next((other for other in [*wanted, *setup.labels] if other != label), None)
        if judge is None:
            raise ConfigError(
                f"there is no judge for the images of {label}: name a second detector with experiment.judge=NAME"
            )
        setup.detector(judge)
        return judge

    def _images(
        self, setup: ExperimentSetup, label: str, stem: str, layouts: Sequence[Layout]
    ) -> dict[str, tuple[Images, Sequence[Layout]]]:
        """Images and the layouts in their pixels, by condition; references last."""
        masks = setup.detector(label).has_masks and any(layout.masks is not None for layout in layouts)
        staged = proposes(setup.detector(label), layouts[0])
        made: dict[str, tuple[Images, Sequence[Layout]]] = {}
        for condition in (*self.conditions, *(self.rpn_off if staged else ())):
            if "mask" in condition.parts and not masks:
                continue
            preset = replace(setup.preset, objective=setup.preset.objective.only(condition.terms))
            made[condition.name] = setup.invert(f"{stem}/{condition.key}", label, layouts, preset), layouts
        if self.references:
            made[NOISE] = setup.invert(f"{stem}/{NOISE}", label, layouts, steps=0), layouts
            if setup.has_photographs:
                made[REAL] = setup.photographs(label)
        return made

    def _evaluate(
        self, setup: ExperimentSetup, label: str, judge: str, images: Images, layouts: Sequence[Layout]
    ) -> Evaluation:
        detector = setup.detector(judge)
        names = setup.detector(label).class_names
        theirs = [relabelled(layout, names, detector.class_names) for layout in layouts]
        return evaluate(detector, images, theirs, self.score_thresh)

    def _numbers(self, judge: str, layouts: Sequence[Layout], evaluations: Mapping[str, Evaluation]) -> dict[str, Any]:
        return {
            "judge": judge,
            "layouts": len(layouts),
            "objects": sum(len(layout) for layout in layouts),
            "conditions": {name: {**found.scores, **found.means()} for name, found in evaluations.items()},
            "differences": {
                f"{first} - {second}{ending}": evaluations[f"{first}{ending}"].minus(evaluations[f"{second}{ending}"])
                for ending in ("", _OFF)
                for first, second in (("cls", "reg"), ("mask", "cls"), ("mask", "reg"))
                if f"{first}{ending}" in evaluations and f"{second}{ending}" in evaluations
            },
        }

    def _figures(
        self,
        setup: ExperimentSetup,
        label: str,
        stem: str,
        layouts: Sequence[Layout],
        images: Mapping[str, tuple[Images, Sequence[Layout]]],
        evaluations: Mapping[str, Evaluation],
    ) -> list[Figure]:
        series = {
            MEASURES[measure]: {name: found.means()[measure] for name, found in evaluations.items()}
            for measure in ("box_iou", "class_accuracy")
        }
        found = [
            Figure(
                f"measures_{stem}",
                f"{label} inverted with parts of its loss, judged by another detector",
                bars(series, limits=(0.0, 1.0)),
                "Means over objects with 95 % intervals.",
            )
        ]
        if self.examples:
            picture = self._picture(setup.detector(label).class_names, layouts, images)
            title = f"{label} inverted with parts of its loss"
            found.insert(0, Figure(f"images_{stem}", title, picture, "The images as they are saved."))
        return found

    def _picture(
        self,
        class_names: Sequence[str],
        layouts: Sequence[Layout],
        images: Mapping[str, tuple[Images, Sequence[Layout]]],
    ) -> Picture:
        """Arrange layouts in rows and conditions in columns; noise is left out, as it is the same everywhere."""
        columns = {name: made for name, (made, _) in images.items() if name != NOISE}
        rows = []
        for number, layout in enumerate(layouts[: self.examples]):
            made = [of_condition[number] for of_condition in columns.values()]
            cells = [rescale(image, scale_within((image.shape[1], image.shape[2]), _CELL)) for image in made]
            drawn = draw_layout(layout, class_names, scale=scale_within(layout.image_size, _CELL))
            rows.append(SheetRow(layout.id, [drawn, *cells]))
        return sheet(("layout", *columns), rows)


def proposes(detector: AbstractDetector, layout: Layout) -> bool:
    """Tell whether a detector has proposals: two stages, or a transformer that chooses its queries."""
    with torch.no_grad():
        predictions = detector(blank_canvas(detector, 1, canvas_size([layout.image_size], detector.size_divisor)))
    return predictions.roi is not None or predictions.encoder is not None


def _read(text: str) -> Condition:
    parts = tuple(part.strip() for part in str(text).split("+"))
    if not set(parts) <= set(PARTS) or len(set(parts)) < len(parts):
        raise ConfigError(f"experiment.conditions: cannot read {text!r}; join {', '.join(PARTS)} by a plus sign")
    return Condition(parts)


def _measure_rows(label: str, judge: str, conditions: Mapping[str, Mapping[str, Any]]) -> list[tuple[Cell, ...]]:
    return [
        (
            label,
            judge,
            name,
            *(found[score] for score in SCORES),
            *(found[measure].value for measure in MEASURES),
        )
        for name, found in conditions.items()
    ]


def _pair_rows(label: str, judge: str, pairs: Mapping[str, Mapping[str, Interval]]) -> list[tuple[Cell, ...]]:
    return [
        (label, judge, pair, MEASURES[measure], *interval)
        for pair, found in pairs.items()
        for measure, interval in found.items()
        if measure in _COMPARED
    ]
