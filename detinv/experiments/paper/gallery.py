"""Figure 4: the same layouts through all detectors, and whether each detects in its images what was asked for."""

from collections.abc import Mapping, Sequence
from typing import Any

from detinv.errors import ConfigError
from detinv.experiments.common.base import AbstractExperiment
from detinv.experiments.common.evaluation import borders
from detinv.experiments.common.setup import ExperimentSetup
from detinv.experiments.common.store import Images
from detinv.layouts.layout import Detections, Layout
from detinv.metrics.coco_ap import average_precision
from detinv.metrics.intervals import mean_interval, wilson
from detinv.metrics.redetection import redetection
from detinv.results.io.names import file_stems
from detinv.results.reports.findings import Cell, Figure, Findings, Table
from detinv.viz.charts import bars
from detinv.viz.draw import draw_layout
from detinv.viz.image import Picture, rescale, scale_within
from detinv.viz.sheet import SheetRow, sheet

INVERTED, REAL = "inverted", "real images"
RATES = {
    "redetected": "objects found",
    "complete": "images with all objects",
    "exact": "the same and nothing else",
}
"""Shares that are counted, with their names in tables."""
# Width of one picture in the figure, in pixels.
_CELL = 256


class Gallery(AbstractExperiment):
    """Every detector inverted for every layout, and its own inference on what came out.

    Args:
        score_thresh: a detection counts from a score above this one.
        iou_thresh: an object is found by a detection of its class that overlaps it by more than this.
        examples: layouts in the picture.

    Raises:
        ConfigError: for a number out of range.

    Source: paper, section 4.1, figure 4; section G.9 of the method.
    """

    title = "Layout gallery (paper, figure 4)"

    def __init__(self, score_thresh: float = 0.5, iou_thresh: float = 0.5, examples: int = 8) -> None:
        for name, value in (("score_thresh", score_thresh), ("iou_thresh", iou_thresh)):
            if not 0 <= value < 1:
                raise ConfigError(f"experiment.{name}={value}: choose a number from 0 to below 1")
        if examples < 0:
            raise ConfigError(f"experiment.examples={examples}: choose 0 or more")
        self.score_thresh = score_thresh
        self.iou_thresh = iou_thresh
        self.examples = examples

    def check(self, setup: ExperimentSetup) -> None:
        """See `AbstractExperiment.check`."""
        setup.check_layouts()

    def run(self, setup: ExperimentSetup) -> Findings:
        """Measure every detector on its own inversions and, where there are any, on the photographs."""
        images: dict[str, Images] = {}
        numbers: dict[str, dict[str, Any]] = {}
        for stem, label in zip(file_stems(setup.labels), setup.labels, strict=True):
            detector = setup.detector(label)
            layouts = setup.layouts(label)
            asked = layouts if detector.has_masks else [layout.without_masks() for layout in layouts]
            images[label] = setup.invert(stem, label, asked)
            setup.log(f"{label}: inference on its images")
            numbers[label] = {INVERTED: self._seen(setup, label, images[label], layouts)}
            if setup.has_photographs:
                numbers[label][REAL] = self._seen(setup, label, *setup.photographs(label))
        return Findings(
            numbers=numbers,
            tables=[
                Table(
                    "success",
                    "What each detector detects in its images",
                    ("detector", "on", "images", "objects", *RATES.values(), "false positives", *_OTHERS.values()),
                    _rows(numbers),
                    "Shares in percent; numbers.json has their intervals. False positives are confident detections "
                    "that match no object, in all images. Edges: share along the border, one half when they lie "
                    "anywhere.",
                    digits=2,
                )
            ],
            figures=self._figures(setup, images, numbers),
            decided={
                "found": f"a detection of the object's class with a score above {self.score_thresh:g} and an IoU above "
                f"{self.iou_thresh:g}, each detection for one object",
                "images": "the last iterate, rounded to 8 bit, cropped to the layout, in the detector's own frame",
                "masks": "asked for where the detector has them",
                "intervals": "95 %; Wilson's for shares, bootstrap over objects for edges",
            },
        )

    def _seen(self, setup: ExperimentSetup, label: str, images: Images, layouts: Sequence[Layout]) -> dict[str, Any]:
        detections = setup.detect(label, images)
        edges = [borders(image, layout) for image, layout in zip(images, layouts, strict=True)]
        scores = average_precision(layouts, detections, setup.detector(label).class_names)
        return {
            **self._counts(layouts, detections),
            "AP": scores["AP"],
            "box_border": mean_interval([share for at_boxes, _ in edges for share in at_boxes]),
            "mask_border": mean_interval([share for _, at_masks in edges for share in at_masks]),
        }

    def _counts(self, layouts: Sequence[Layout], detections: Sequence[Detections]) -> dict[str, Any]:
        """Numbers of objects and images, and the `RATES` with their intervals."""
        counts = [
            redetection([layout], [found], self.score_thresh, self.iou_thresh)
            for layout, found in zip(layouts, detections, strict=True)
        ]
        objects = sum(count["objects"] for count in counts)
        complete = [count for count in counts if count["redetected"] == count["objects"]]
        exact = [count for count in complete if not count["false_positives"]]
        return {
            "images": len(counts),
            "objects": objects,
            "false_positives": sum(count["false_positives"] for count in counts),
            "redetected": wilson(sum(count["redetected"] for count in counts), objects),
            "complete": wilson(len(complete), len(counts)),
            "exact": wilson(len(exact), len(counts)),
        }

    def _figures(
        self, setup: ExperimentSetup, images: Mapping[str, Images], numbers: Mapping[str, Mapping[str, Any]]
    ) -> list[Figure]:
        series = {
            name: {label: found[INVERTED][rate] for label, found in numbers.items()} for rate, name in RATES.items()
        }
        chart = Figure(
            "success",
            "Shares of objects and images that come back",
            bars(series, limits=(0.0, 1.0)),
            "With 95 % intervals.",
        )
        if not self.examples:
            return [chart]
        return [Figure("gallery", "The same layouts through all detectors", self._picture(setup, images)), chart]

    def _picture(self, setup: ExperimentSetup, images: Mapping[str, Images]) -> Picture:
        """Arrange layouts in rows: each with its photograph, where there is one, and every detector's image."""
        first = setup.labels[0]
        names = setup.detector(first).class_names
        columns: dict[str, Images] = {}
        if setup.has_photographs:
            columns["photograph"], _ = setup.photographs(first)
        columns |= images
        rows = []
        for number, layout in enumerate(setup.layouts(first)[: self.examples]):
            row = [made[number] for made in columns.values()]
            cells = [rescale(image, scale_within((image.shape[1], image.shape[2]), _CELL)) for image in row]
            drawn = draw_layout(layout, names, scale=scale_within(layout.image_size, _CELL))
            rows.append(SheetRow(layout.id, [drawn, *cells]))
        return sheet(("layout", *columns), rows)


_OTHERS = {"AP": "AP", "box_border": "edges at box", "mask_border": "edges at mask"}


def _rows(numbers: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[tuple[Cell, ...]]:
    return [
        (
            label,
            kind,
            found["images"],
            found["objects"],
            *(100 * found[rate].value for rate in RATES),
            found["false_positives"],
            found["AP"],
            found["box_border"].value,
            found["mask_border"].value,
        )
        for label, kinds in numbers.items()
        for kind, found in kinds.items()
    ]
