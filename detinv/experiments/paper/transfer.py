"""Table 1: images inverted with one detector, judged by all the others."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from detinv.detectors.base import AbstractDetector
from detinv.experiments.common.base import AbstractExperiment
from detinv.experiments.common.provenance import image_hash, layouts_hash
from detinv.experiments.common.setup import ExperimentSetup
from detinv.experiments.common.store import Images
from detinv.inversion.evaluation import evaluate
from detinv.layouts.layout import Layout
from detinv.layouts.relabelling import relabelled
from detinv.results.reports.findings import Cell, Figure, Findings, Table
from detinv.viz.charts import heat_map

PAPER_COLUMNS = ("Retina", "Faster", "Mask box", "Mask mask", "FCOS")
PAPER: dict[str, tuple[float, ...]] = {
    "Retina": (91.6, 59.4, 55.5, 17.5, 61.0),
    "Faster": (74.6, 94.8, 86.1, 25.7, 75.1),
    "Mask-b": (69.4, 86.3, 94.3, 26.8, 69.3),
    "Mask-m": (63.1, 82.0, 93.6, 85.1, 63.0),
    "FCOS": (56.2, 54.6, 52.7, 16.6, 95.3),
}
"""Table 1 of the paper: AP of 1,000 COCO layouts, inverted by the row, judged by the column."""
_MEASURES = ("AP", "AP50", "AP75", "APs", "APm", "APl")
_BOXES, _MASKS = "b", "m"
JOINT, NOISE, REAL = "all at once", "noise", "real images"


class Transfer(AbstractExperiment):
    """Every detector's inversions judged by every detector, with noise and real images as references.

    A detector with masks has two rows: "-b" inverts boxes alone, "-m" boxes and masks; and two columns.

    Args:
        references: whether the rows of noise (start images) and of real images (the layouts' own) are made.
        joint: whether a row is made of images that all detectors at once are asked to read.

    Source: paper, section 4.2, table 1.
    """

    title = "Inversion transfer (paper, table 1)"

    def __init__(self, references: bool = True, joint: bool = False) -> None:
        self.references = references
        self.joint = joint

    def run(self, setup: ExperimentSetup) -> Findings:
        """Compute the AP of each row's images under each column's inference, with the row's layouts as ground truth."""
        rows = self._rows(setup)
        columns = [
            (label, prefix)
            for label in setup.labels
            for prefix in ("", *(("mask_",) if setup.detector(label).has_masks else ()))
        ]
        judged = {name: self._judged(setup, name, *made) for name, made in rows.items()}
        names = [_column(label, prefix, setup.detector(label)) for label, prefix in columns]
        matrix = {
            row: [by_label[label].get(f"{prefix}AP") for label, prefix in columns] for row, by_label in judged.items()
        }
        return Findings(
            numbers={
                "AP": {row: dict(zip(names, values, strict=True)) for row, values in matrix.items()},
                "measures": judged,
                "summary": summary(matrix, [label for label, _ in columns], [prefix for _, prefix in columns]),
                "layouts": len(next(iter(rows.values()))[1]),
            },
            tables=[
                Table(
                    "matrix",
                    "AP: inverted by the row, judged by the column",
                    ("inverted by", *names),
                    [(row, *values) for row, values in matrix.items()],
                    "COCO's average precision in percent, on the saved 8-bit images.",
                ),
                _all_measures(judged),
                Table("paper", "The paper's table 1, on COCO", ("inverted by", *PAPER_COLUMNS), _paper_rows()),
            ],
            figures=[
                Figure(
                    "matrix",
                    "AP: inverted by the row, judged by the column",
                    heat_map(
                        list(matrix.values()), list(matrix), names, row_title="inverted by", column_title="judged by"
                    ),
                )
            ],
            decided={
                "which layouts": "the first of the layout source, in its order; see the configuration",
                "images": "the last iterate, rounded to 8 bit, cropped to the layout, in the inverted detector's frame",
                "judged": "by each detector's own inference at its own score threshold, on the saved images",
            },
        )

    def _rows(self, setup: ExperimentSetup) -> dict[str, tuple[Images, list[Layout], tuple[str, ...]]]:
        """Images, layouts in their pixels and the class names of the labels, by row."""
        # Mistakes should show before the inversions, which may take hours.
        first = setup.labels[0]
        class_names = setup.detector(first).class_names
        layouts = {label: setup.layouts(label) for label in setup.labels}
        real = setup.photographs(first) if self.references else None
        joint = setup.invert_jointly("joint", layouts[first]) if self.joint else None
        rows = {}
        for label in setup.labels:
            detector = setup.detector(label)
            for kind in (_BOXES, _MASKS) if detector.has_masks else ("",):
                asked = layouts[label]
                if kind != _MASKS:
                    asked = [layout.without_masks() for layout in asked]
                preset = setup.preset
                if kind == _BOXES:
                    preset = replace(preset, objective=preset.objective.reweighted({"roi_mask": None}))
                row = f"{label}-{kind}" if kind else label
                rows[row] = (setup.invert(row, label, asked, preset), layouts[label], detector.class_names)
        if joint is not None:
            rows[JOINT] = (joint, layouts[first], class_names)
        if real is not None:
            rows[NOISE] = (setup.invert(NOISE, first, layouts[first], steps=0), layouts[first], class_names)
            rows[REAL] = (*real, class_names)
        return rows

    def _judged(
        self, setup: ExperimentSetup, row: str, images: Images, layouts: Sequence[Layout], class_names: tuple[str, ...]
    ) -> dict[str, dict[str, Any]]:
        """All measures of one row's images, by judging detector."""

        def by_label() -> dict[str, dict[str, Any]]:
            setup.log(f"judging {row}")
            found = {}
            for label in setup.labels:
                detector = setup.detector(label)
                theirs = [relabelled(layout, class_names, detector.class_names) for layout in layouts]
                found[label] = evaluate(theirs, setup.detect(label, images), detector.class_names)
            return found

        provenance = setup.provenance(
            *setup.labels, images=image_hash(images), layouts=layouts_hash(layouts), classes=class_names
        )
        return setup.keep(f"judged/{row.replace(' ', '_')}", provenance, by_label)


def summary(
    matrix: Mapping[str, Sequence[float | None]], labels: Sequence[str], prefixes: Sequence[str]
) -> dict[str, float]:
    """Compute the means of the diagonal and of all other box columns, over the rows of single detectors.

    Args:
        matrix: AP by row.
        labels: detector of each column.
        prefixes: "mask_" for columns of masks.
    """
    own: list[float] = []
    others: list[float] = []
    for row, values in matrix.items():
        source = next((label for label in labels if row in (label, f"{label}-{_BOXES}", f"{label}-{_MASKS}")), None)
        for label, prefix, value in zip(labels, prefixes, values, strict=True):
            if source is not None and not prefix and value is not None:
                (own if label == source else others).append(value)
    return {
        "diagonal": sum(own) / len(own) if own else float("nan"),
        "least_diagonal": min(own, default=float("nan")),
        "off_diagonal": sum(others) / len(others) if others else float("nan"),
    }


def _column(label: str, prefix: str, detector: AbstractDetector) -> str:
    if not detector.has_masks:
        return label
    return f"{label}, masks" if prefix else f"{label}, boxes"


def _paper_rows() -> list[tuple[Cell, ...]]:
    return [(row, *values) for row, values in PAPER.items()]


def _all_measures(judged: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for row, by_label in judged.items():
        for label, measures in by_label.items():
            for prefix in ("", "mask_"):
                if f"{prefix}AP" in measures:
                    kind = "masks" if prefix else "boxes"
                    values = [measures[f"{prefix}{name}"] for name in _MEASURES]
                    rows.append((row, label, kind, *values, measures["redetected"], measures["objects"]))
    return Table(
        "measures",
        "All measures",
        ("inverted by", "judged by", "of", *_MEASURES, "redetected", "objects"),
        rows,
    )
