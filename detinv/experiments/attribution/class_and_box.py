"""Figures 6 and 7: what the class of an object is read from, and what its box."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from detinv.attribution.attribution import Attribution
from detinv.attribution.core.measures import compactness, energy_share, inside_box
from detinv.attribution.core.questions import Question
from detinv.attribution.explain import explain_image
from detinv.attribution.load import load_method
from detinv.attribution.metrics.object_set import ObjectRule
from detinv.attribution.metrics.perturbation import Perturbation, curves_of
from detinv.attribution.pictures import heat_picture, object_picture
from detinv.detectors.targets import SIDES
from detinv.errors import ConfigError
from detinv.experiments.attribution.controls import ControlClaim, verdict_of
from detinv.experiments.attribution.judged import Chosen, JudgedImage, matched_objects
from detinv.experiments.attribution.tables import claim_table, interval_text
from detinv.experiments.common.base import AbstractExperiment
from detinv.experiments.common.provenance import image_hash
from detinv.experiments.common.setup import ExperimentSetup
from detinv.inputs.fingerprint import settings_hash
from detinv.inversion.resume.fingerprint import layout_hash
from detinv.metrics.intervals import Interval, mean_interval
from detinv.results.io.names import file_stems
from detinv.results.reports.findings import Figure, Findings, Table
from detinv.viz.image import Picture
from detinv.viz.sheet import SheetRow, sheet

Box = tuple[float, float, float, float]

_QUESTIONS = (Question("class"), *(Question(side) for side in SIDES))
# Half width of the band along the outline of a box, as a share of the box's sides.
_BAND = 0.1
# Half of the pixels of the box are shown, or taken away; the rest has the detector's mean colour.
_HALF = Perturbation(steps=2, within="box")
_SIDE = 192
_COLUMNS = {
    "class": "why this class?",
    "box": "why this box? (all four sides)",
    "left": "why is the left edge here?",
    "top": "why is the top edge here?",
    "right": "why is the right edge here?",
    "bottom": "why is the bottom edge here?",
}


class ClassAndBox(AbstractExperiment):
    """Compares the maps of an object's class with those of its box.

    The map of a box is the mean of those of its four sides, each scaled to a sum of one.

    Args:
        shown: columns of the picture: "class", "box", "left", "top", "right" or "bottom".
        method: name of the method.
        objects: how many detections are explained for each detector, photograph after photograph.
        rule: which detections count.
        examples: objects in the picture; 0 for no picture.

    Raises:
        ConfigError: for a column or method that does not exist, or a number below 1.
    """

    title = "Figures 6 and 7: attribution of class and box"

    def __init__(
        self,
        shown: Sequence[str] = ("class", "box"),
        method: str = "default",
        objects: int = 200,
        rule: ObjectRule | None = None,
        examples: int = 4,
    ) -> None:
        unknown = [name for name in shown if name not in _COLUMNS]
        if unknown or not shown:
            raise ConfigError(f"experiment.shown: name some of {', '.join(_COLUMNS)}")
        if objects < 1 or examples < 0:
            raise ConfigError(f"experiment.objects={objects}, examples={examples}: choose at least 1 and 0")
        self.shown = tuple(shown)
        self.name, self.method = method, load_method(method)
        self.objects = objects
        self.rule = rule or ObjectRule()
        self.examples = examples

    def check(self, setup: ExperimentSetup) -> None:
        """See `AbstractExperiment.check`."""
        setup.check_layouts()

    def run(self, setup: ExperimentSetup) -> Findings:
        """Explain and measure the objects of every detector.

        Raises:
            ConfigError: when there are no photographs.
        """
        rows = {label: self._measured(setup, label) for label in setup.labels}
        claims = {label: _claims(found) for label, found in rows.items()}
        numbers = {
            label: {
                "objects": len(found),
                "measures": {name: mean_interval([row[name] for row in found]) for name in found[0]} if found else {},
                "claims": [{**vars(one)} for one in claims[label]],
            }
            for label, found in rows.items()
        }
        return Findings(
            numbers={"detectors": numbers},
            tables=[_table(numbers), *(claim_table(label, claims[label]) for label in setup.labels)],
            figures=self._pictures(setup) if self.examples else [],
            decided={
                "method": f"{self.name}; the paper uses Grad-CAM, extremal perturbation and NormGrad",
                "box": "the mean of the maps of the four sides, where the paper has the head's deltas; each in both "
                "directions",
                "band": f"within {_BAND:.0%} of the box's sides on both sides of its outline",
                "half": "as many pixels as half of the box has, in the order of the map; the paper takes half of the "
                "mask's area",
                "opposite": "control: the same map turned by 180 degrees about the centre of the box",
            },
        )

    def _measured(self, setup: ExperimentSetup, label: str) -> list[dict[str, float]]:
        images, layouts = setup.photographs(label)
        found: list[dict[str, float]] = []
        stems = file_stems([layout.id for layout in layouts])
        for number, (image, layout, stem) in enumerate(zip(images, layouts, stems, strict=True)):
            if len(found) >= self.objects:
                break
            one = JudgedImage(number, image, layout)
            provenance = setup.provenance(
                label,
                image=image_hash([image]),
                layout=f"{layout.id}: {layout_hash(layout)}",
                number=number,
                method=settings_hash(self.method),
                rule=settings_hash(self.rule),
                seed=setup.seed,
            )
            kept: list[dict[str, float | None]] = setup.keep(
                f"measured/{label}/{stem}", provenance, partial(self._measure, setup, label, one)
            )
            # Of a map that is zero everywhere, some measures are not defined; such a NaN is kept as None.
            found += [{name: math.nan if value is None else value for name, value in row.items()} for row in kept]
        setup.log(f"{label}: {len(found[: self.objects])} objects")
        return found[: self.objects]

    def _measure(self, setup: ExperimentSetup, label: str, one: JudgedImage) -> list[dict[str, float]]:
        setup.log(f"{label}: {one.layout.id}")
        chosen = matched_objects(setup.detector(label), one, self.rule)
        if not len(chosen.objects):
            return []
        maps = self._maps(setup, label, one, chosen)
        heats = torch.stack([torch.stack([mine["class"].heat(), _of_box(mine)]) for mine in maps])
        boxes = [truth.box for truth in chosen.truths]
        opposite = torch.stack([_turned(heat[0], box) for heat, box in zip(heats, boxes, strict=True)])
        curves = curves_of(
            _HALF,
            setup.detector(label),
            one.image,
            chosen.objects.boxes,
            chosen.objects.labels,
            torch.stack([heats[:, 0], opposite], dim=1),
            setup.seed,
        )
        rows = []
        for index, (heat, box) in enumerate(zip(heats, boxes, strict=True)):
            band = boundary_band(box, (heat.shape[1], heat.shape[2]))
            row: dict[str, float] = {}
            for name, each in zip(("class", "box"), heat, strict=True):
                row[f"{name}_band"] = energy_share(each, band)
                row[f"{name}_compactness"] = compactness(each, box)
            row["score"] = float(curves.before[index])
            for place, name in enumerate(("attributed", "opposite")):
                row[f"only_{name}"] = float(curves.insertion[index, place, 1])
                row[f"without_{name}"] = float(curves.deletion[index, place, 1])
            rows.append(row)
        return rows

    def _maps(
        self, setup: ExperimentSetup, label: str, one: JudgedImage, chosen: Chosen
    ) -> list[dict[str, Attribution]]:
        """Return for each object its maps by question."""
        found = explain_image(
            setup.detector(label),
            one.image,
            chosen.objects,
            _QUESTIONS,
            {self.name: self.method},
            number=one.number,
            seed=setup.seed,
        ).attributions
        count = len(_QUESTIONS)
        return [{each.question: each for each in found[start : start + count]} for start in range(0, len(found), count)]

    def _pictures(self, setup: ExperimentSetup) -> list[Figure]:
        figures = []
        for label in setup.labels:
            rows: list[SheetRow] = []
            images, layouts = setup.photographs(label)
            for number, (image, layout) in enumerate(zip(images, layouts, strict=True)):
                if len(rows) == self.examples:
                    break
                one = JudgedImage(number, image, layout)
                chosen = matched_objects(setup.detector(label), one, self.rule)
                if len(chosen.objects):
                    largest = int((chosen.objects.boxes[:, 2:] - chosen.objects.boxes[:, :2]).prod(1).argmax())
                    only = Chosen(
                        chosen.objects.select(torch.tensor([largest])), [chosen.truths[largest]], chosen.counts
                    )
                    (maps,) = self._maps(setup, label, one, only)
                    first = maps["class"]
                    cells = [object_picture(first, _SIDE), *(_cell(maps, name) for name in self.shown)]
                    title = f"{first.class_names[first.label]} {first.score:.2f}, {layout.id}"
                    rows.append(SheetRow(title, cells))
            if rows:
                headings = ["what is explained", *(_COLUMNS[name] for name in self.shown)]
                note = "The brighter, the more it counts; each map on a scale from zero to its own maximum."
                figures.append(Figure(f"maps_{label}", f"Maps of {label}", sheet(headings, rows, note)))
        return figures


def boundary_band(box: Box, size: tuple[int, int]) -> Bool[Tensor, "height width"]:
    """Return the pixels within 10 % of a box's width and height of its outline, inside and outside."""
    x0, y0, x1, y1 = box
    across, down = _BAND * (x1 - x0), _BAND * (y1 - y0)
    outer = inside_box((x0 - across, y0 - down, x1 + across, y1 + down), size)
    return outer & ~inside_box((x0 + across, y0 + down, x1 - across, y1 - down), size)


def _of_box(maps: Mapping[str, Attribution]) -> Float[Tensor, "height width"]:
    """Return the mean of the maps of the four sides, each scaled to a sum of one."""
    sides = torch.stack([maps[side].heat().clamp(min=0) for side in SIDES])
    return (sides / sides.sum((1, 2), keepdim=True).clamp(min=torch.finfo(sides.dtype).tiny)).mean(0)


def _turned(heat: Float[Tensor, "height width"], box: Box) -> Float[Tensor, "height width"]:
    """Return a map turned by 180 degrees about the centre of a box; what comes from beyond the image is zero."""
    height, width = heat.shape
    rows = (box[1] + box[3] - 1 - torch.arange(height)).round().long()
    columns = (box[0] + box[2] - 1 - torch.arange(width)).round().long()
    inside = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))
    return heat[rows.clamp(0, height - 1)][:, columns.clamp(0, width - 1)] * inside


def _cell(maps: Mapping[str, Attribution], name: str) -> Picture:
    one = maps["class" if name == "box" else name]
    heat = _of_box(maps) if name == "box" else one.heat()
    return heat_picture(one.photograph, heat, one.box, signed=one.signed and name != "box", side=_SIDE)


def _claims(rows: Sequence[Mapping[str, float]]) -> list[ControlClaim]:
    return [
        _positive("the map of a box has more of its energy along the outline", rows, "box_band", "class_band"),
        _positive("the map of a box is spread more widely", rows, "box_compactness", "class_compactness"),
        _positive(
            "with the attributed pixels alone, more of the detection stays than with those opposite",
            rows,
            "only_attributed",
            "only_opposite",
        ),
        _positive(
            "without the attributed pixels, less of the detection stays than without those opposite",
            rows,
            "without_opposite",
            "without_attributed",
        ),
    ]


def _positive(statement: str, rows: Sequence[Mapping[str, float]], more: str, less: str) -> ControlClaim:
    gaps = [gap for row in rows if math.isfinite(gap := row[more] - row[less])]
    found = mean_interval(gaps)
    return ControlClaim(statement, found, len(gaps), verdict_of(found))


def _table(numbers: Mapping[str, Mapping[str, Any]]) -> Table:
    names: dict[str, str] = {
        "class_band": "class: energy along the outline",
        "box_band": "box: energy along the outline",
        "class_compactness": "class: spread",
        "box_compactness": "box: spread",
        "score": "IoU x score before",
        "only_attributed": "attributed half alone",
        "only_opposite": "opposite half alone",
        "without_attributed": "without the attributed half",
        "without_opposite": "without the opposite half",
    }
    nothing = Interval(float("nan"), float("nan"), float("nan"))
    rows = [
        (label, one["objects"], *(interval_text(one["measures"].get(name, nothing)) for name in names))
        for label, one in numbers.items()
    ]
    note = "Means over the objects, with intervals of 95 %. Spread: distance of the energy from the maximum, in half "
    note += "diagonals of the box. Halves: as many pixels as half of the box has."
    return Table("questions", "Class and box", ("detector", "objects", *names.values()), rows, note, digits=3)
