"""Figure 13: objects that are given another texture in their own outline, before and after."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from detinv.detectors.base import AbstractDetector
from detinv.detectors.candidates import read_candidates_batch
from detinv.errors import ConfigError
from detinv.experiments.common.base import AbstractExperiment
from detinv.experiments.common.workbench import Images, Workbench
from detinv.experiments.textures.base import TextureMethod, composite
from detinv.layouts.boxes import area, pairwise_iou
from detinv.layouts.labels import label_of
from detinv.layouts.layout import Detections, Layout
from detinv.metrics.intervals import Interval, mean_interval
from detinv.results.io.files import prepare_out_dir, write_csv, write_png
from detinv.results.io.images import read_image, read_images
from detinv.results.io.names import file_stems
from detinv.results.reports.findings import Cell, Figure, Findings, Table
from detinv.runtime.seeds import layout_generator
from detinv.viz.captioned import Captioned, captioned_grid, close_up
from detinv.viz.charts import lines
from detinv.zoo.weights import weight_hash

END_TO_END, FIXED = "end-to-end", "fixed candidate"
MATCHINGS = (END_TO_END, FIXED)
# Overlap with the annotation from which a detection counts as the object's.
_FOUND = 0.5
# Resampled numbers that fit into memory.
_MOST_DRAWN = 20_000_000
_ALL = "all"
Row = dict[str, Any]
"""One object under one detector: what is measured, as JSON knows it; see `_measured`."""


class Texture(AbstractExperiment):
    """Probability of the true class and overlap with the annotation, before and after an object's texture is replaced.

    One object at a time is re-textured, in a composite of its own whose background is that of the photograph to the
    bit; so no number depends on what was done to a neighbour. Before and after are compared in two ways:

    - end-to-end: the detector's own detection of the class with the highest score among those that overlap the
      annotation with IoU >= 0.5; without one the probability is 0, and IoU is compared only where there is one both
      before and after;
    - fixed candidate: the same anchor's (or query's) raw output before and after, for two-stage detectors the second
      stage's at the annotation itself, so that suppression plays no part.

    Args:
        texture: how textures are replaced.
        styles: folder of images that textures are taken from; by default each image takes that of another one of the
            same set.
        sizes: square roots of box areas, in pixels of the photographs; an object belongs to the nearest one on a
            logarithmic scale.
        examples: objects shown in the picture, spread over the sizes.

    Raises:
        ConfigError: for sizes that are not positive and rising, or a negative number of examples.

    Source: paper, section 4.4.2, figure 13; section G.8 of the method.
    """

    title = "Re-textured objects (paper, figure 13)"

    def __init__(
        self,
        texture: TextureMethod,
        styles: str | Path | None = None,
        sizes: Sequence[float] = (16, 32, 64, 128, 256, 512),
        examples: int = 12,
    ) -> None:
        if not sizes or min(sizes) <= 0 or list(sizes) != sorted(set(sizes)):
            raise ConfigError(f"experiment.sizes={list(sizes)}: give numbers above 0, each larger than the one before")
        if examples < 0:
            raise ConfigError(f"experiment.examples={examples}: choose 0 or more")
        self.texture = texture
        self.styles = styles
        self.sizes = tuple(float(size) for size in sizes)
        self.examples = examples

    def run(self, bench: Workbench) -> Findings:
        """Every annotated object of every photograph, under every detector; each object's numbers in objects.csv.

        Raises:
            ConfigError: when no layout has masks.
            LayoutError: when a detector lacks a class.
        """
        scenes, skipped = self._scenes(bench)
        shown = self._examples(scenes)
        rows: list[Row] = []
        hashes = {label: weight_hash(bench.detector(label)) for label in bench.labels}
        for number, scene in enumerate(scenes, 1):
            bench.say(f"image {number} of {len(scenes)}: {scene.layout.id}, {len(scene.layout)} objects")
            for label, weights in hashes.items():
                rows += self._kept(bench, label, weights, scene)
            self._draw(bench, scene, [example for stem, example in shown if stem == scene.stem])
        # Thousands of lines on COCO: beside the report, not in it.
        write_csv(bench.out_dir / "objects.csv", [_flat(row, self.sizes) for row in rows])
        by_label = {label: [row for row in rows if row["detector"] == label] for label in bench.labels}
        numbers = {
            label: {matching: self._summary(found, matching) for matching in MATCHINGS}
            for label, found in by_label.items()
        }
        return Findings(
            numbers={
                "detectors": numbers,
                "images": len(scenes),
                "images_left_out": skipped,
                "objects": sum(len(scene.layout) for scene in scenes),
                "texture": self.texture.describe(),
            },
            tables=[_by_size(numbers)],
            figures=[*_charts(numbers), *self._picture(bench, scenes, shown, by_label)],
            decided={
                "texture": self.texture.describe(),
                "style images": "another image of the same set for each, by a seeded cycle"
                if self.styles is None
                else f"those of {self.styles}, in a seeded order",
                "size": "square root of the annotated box's area in pixels of the photograph; nearest of "
                + ", ".join(f"{size:g}" for size in self.sizes)
                + " on a logarithmic scale",
                "objects": "all that are annotated and not a crowd; one at a time is re-textured",
                END_TO_END: f"best detection of the class with IoU >= {_FOUND:g}; probability 0 without one",
                FIXED: "the row of highest score among those whose box has IoU >= 0.5 before; of two stages, the "
                "second with the annotation as region",
                "intervals": "95 %, bootstrap over objects",
            },
        )

    def _scenes(self, bench: Workbench) -> tuple[list["_Scene"], int]:
        """Photographs with masks, and how many were left out for lack of them."""
        first = bench.labels[0]
        images, layouts = bench.photographs(first)
        stems = file_stems([layout.id for layout in layouts])
        styles = self._styles(images, bench.seed)
        scenes = []
        masked = False
        for image, layout, stem, style in zip(images, layouts, stems, styles, strict=True):
            if layout.masks is None:
                continue
            masked = True
            # What covers no pixel has no texture.
            layout = layout.select(layout.masks.flatten(1).any(1))
            if len(layout):
                generator = layout_generator(bench.seed, layout.id, "texture")
                names = bench.detector(first).class_names
                scenes.append(_Scene(image, layout, names, stem, style, self.texture, generator))
        if not scenes:
            wanted = "an object" if masked else "masks: set layout.masks=true, or give annotations with segmentations"
            raise ConfigError(f"this experiment re-textures objects inside their masks, and no layout has {wanted}")
        return scenes, len(layouts) - len(scenes)

    def _styles(self, images: Images, seed: int) -> Images:
        """The style image of each image: none has its own, unless there is only one."""
        generator = torch.Generator().manual_seed(seed)
        if self.styles is not None:
            _, found = read_images(self.styles)
            order = torch.randperm(len(found), generator=generator).tolist()
            return [found[order[number % len(order)]] for number in range(len(images))]
        order = torch.randperm(len(images), generator=generator).tolist()
        after = dict(zip(order, [*order[1:], order[0]], strict=True))
        return [images[after[number]] for number in range(len(images))]

    def _kept(self, bench: Workbench, label: str, weights: str, scene: "_Scene") -> list[Row]:
        detector = bench.detector(label)
        # By the weights too: what a detector of the same name said before it was trained again is another's.
        return bench.keep(
            f"{label}-{weights}/{scene.stem}", lambda: _measured(label, detector, scene, bench.batch_size)
        )

    def _summary(self, rows: Sequence[Row], matching: str) -> dict[str, Any]:
        """Means of all objects and of those of each size; sizes without an object are left out."""
        bins: dict[float, list[Row]] = {}
        for row in rows:
            bins.setdefault(nearest_size(row["side"], self.sizes), []).append(row)
        return {
            "overall": _means(rows, matching),
            "by_size": {f"{size:g}": _means(bins[size], matching) for size in sorted(bins)},
        }

    def _examples(self, scenes: Sequence["_Scene"]) -> list[tuple[str, int]]:
        """Stem and object number of what is shown: sizes take turns, images as different as possible."""
        bins: dict[float, list[tuple[int, str, int]]] = {}
        for scene in scenes:
            taken: dict[float, int] = {}
            for number, side in enumerate(scene.sides):
                size = nearest_size(side, self.sizes)
                # The first objects of all images of one size, then the second ones.
                bins.setdefault(size, []).append((taken.get(size, 0), scene.stem, number))
                taken[size] = taken.get(size, 0) + 1
        order = {scene.stem: place for place, scene in enumerate(scenes)}
        queues = [sorted(bins[size], key=lambda entry: (entry[0], order[entry[1]])) for size in sorted(bins)]
        chosen = [(turn, size, entry) for size, queue in enumerate(queues) for turn, entry in enumerate(queue)]
        first = sorted(chosen, key=lambda one: one[:2])[: self.examples]
        return [(stem, number) for _, _, (_, stem, number) in sorted(first, key=lambda one: (one[1], one[0]))]

    def _draw(self, bench: Workbench, scene: "_Scene", examples: Sequence[int]) -> None:
        """Keep the composites that are shown, so that a run that goes on need not make them again."""
        for number in examples:
            path = _example(bench, scene.stem, number)
            if not path.is_file():
                prepare_out_dir(path.parent)
                write_png(path, scene.composites[number])

    def _picture(
        self,
        bench: Workbench,
        scenes: Sequence["_Scene"],
        shown: Sequence[tuple[str, int]],
        by_label: Mapping[str, Sequence[Row]],
    ) -> list[Figure]:
        if not shown:
            return []
        by_stem = {scene.stem: scene for scene in scenes}
        cells = []
        for stem, number in shown:
            scene = by_stem[stem]
            box = scene.layout.boxes[number].tolist()
            text = [f"{scene.names[int(scene.layout.labels[number])]}, {scene.sides[number]:.0f} px"]
            for label, rows in by_label.items():
                row = next(row for row in rows if (row["stem"], row["object"]) == (stem, number))
                found = row[FIXED]
                text.append(f"{label}: {found['p_before']:.2f} -> {found['p_after']:.2f}")
            after = read_image(_example(bench, stem, number))
            cells.append(Captioned([close_up(scene.image, box), close_up(after, box)], text))
        return [
            Figure(
                "examples",
                "Originals and their re-textured versions",
                captioned_grid(cells, columns=3),
                "Probability of the true class before and after, at the fixed candidate. By size, not by result.",
            )
        ]


@dataclass
class _Scene:
    """One photograph, its annotated objects and its re-textured versions, which are made when they are asked for.

    Args:
        names: what the labels of the layout stand for.
        stem: of file names.
    """

    image: UInt8[Tensor, "3 height width"]
    layout: Layout
    names: tuple[str, ...]
    stem: str
    style: UInt8[Tensor, "3 _ _"]
    texture: TextureMethod
    generator: torch.Generator

    @property
    def sides(self) -> list[float]:
        """Square roots of the boxes' areas."""
        return area(self.layout.boxes).sqrt().tolist()

    @cached_property
    def composites(self) -> Images:
        """For each object the photograph in which it alone is re-textured."""
        masks = self.layout.masks
        assert masks is not None
        textured = self.texture(self.image, masks, self.style, self.generator)
        return [composite(self.image, one, mask) for one, mask in zip(textured, masks, strict=True)]


def nearest_size(side: float, sizes: Sequence[float]) -> float:
    """The one of `sizes` whose ratio to `side` is nearest to 1."""
    return min(sizes, key=lambda size: abs(math.log2(side / size)))


def best_detection(found: Detections, box: Tensor, label: int) -> tuple[float, float | None]:
    """Score and IoU of the detection with the highest score among those of the class that overlap the box.

    Returns:
        (0, None) where none overlaps it with IoU >= 0.5.
    """
    iou = pairwise_iou(box[None], found.boxes)[0]
    scores = torch.where((found.labels == label) & (iou >= _FOUND), found.scores, -1.0)
    if not len(scores) or scores.max() < 0:
        return 0.0, None
    best = int(scores.argmax())
    return float(scores[best]), float(iou[best])


def _measured(label: str, detector: AbstractDetector, scene: _Scene, batch_size: int) -> list[Row]:
    """All objects of a scene under one detector.

    Returns:
        For each object its detector, image, stem, number, class, side, and for both matchings "p_before", "p_after",
        "iou_before", "iou_after" (None where nothing is found).
    """
    objects, boxes = len(scene.layout), scene.layout.boxes
    labels = _own_labels(label, detector, scene)
    before, *after = detector.detect([scene.image, *scene.composites])
    (fixed_before,) = read_candidates_batch(detector, [scene.image], [boxes], [labels])
    fixed_after = read_candidates_batch(
        detector,
        scene.composites,
        [boxes[k : k + 1] for k in range(objects)],
        [labels[k : k + 1] for k in range(objects)],
        [fixed_before.rows[k : k + 1] for k in range(objects)],
        batch_size,
    )
    rows = []
    for k in range(objects):
        box, name = boxes[k], scene.names[int(scene.layout.labels[k])]
        p_before, iou_before = best_detection(before, box, int(labels[k]))
        p_after, iou_after = best_detection(after[k], box, int(labels[k]))
        overlaps = pairwise_iou(box[None], torch.stack([fixed_before.boxes[k], fixed_after[k].boxes[0]]))[0].tolist()
        rows.append(
            {
                "detector": label,
                "image": scene.layout.id,
                "stem": scene.stem,
                "object": k,
                "class": name,
                "side": scene.sides[k],
                END_TO_END: {
                    "p_before": p_before,
                    "p_after": p_after,
                    "iou_before": iou_before,
                    "iou_after": iou_after,
                },
                FIXED: {
                    "p_before": float(fixed_before.scores[k]),
                    "p_after": float(fixed_after[k].scores[0]),
                    "iou_before": _known(overlaps[0]),
                    "iou_after": _known(overlaps[1]),
                },
            }
        )
    return rows


def _known(iou: float) -> float | None:
    return None if math.isnan(iou) else iou


def _own_labels(label: str, detector: AbstractDetector, scene: _Scene) -> Tensor:
    names = [scene.names[number] for number in scene.layout.labels.tolist()]
    return torch.tensor([label_of(name, detector.class_names, label) for name in names])


def _means(rows: Sequence[Row], matching: str) -> dict[str, Any]:
    """Mean probabilities, and mean changes with their intervals, of IoU over objects that have both."""
    found = [row[matching] for row in rows]
    both = [one for one in found if one["iou_before"] is not None and one["iou_after"] is not None]
    return {
        "objects": len(found),
        "p_before": _mean([one["p_before"] for one in found]),
        "p_after": _mean([one["p_after"] for one in found]),
        "change_of_p": _change([one["p_after"] - one["p_before"] for one in found]),
        "found_in_both": len(both),
        "iou_before": _mean([one["iou_before"] for one in both]),
        "iou_after": _mean([one["iou_after"] for one in both]),
        "change_of_iou": _change([one["iou_after"] - one["iou_before"] for one in both]),
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _change(values: Sequence[float]) -> Interval:
    return mean_interval(values, draws=min(2000, max(200, _MOST_DRAWN // max(len(values), 1))))


def _example(bench: Workbench, stem: str, number: int) -> Path:
    return bench.out_dir / "images" / "examples" / f"{stem}-{number}.png"


def _by_size(numbers: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for label, by_matching in numbers.items():
        for matching, summary in by_matching.items():
            for size, means in [*summary["by_size"].items(), (_ALL, summary["overall"])]:
                p, iou = means["change_of_p"], means["change_of_iou"]
                before, after = means["p_before"], means["p_after"]
                rows.append((label, matching, size, means["objects"], before, after, *p, means["found_in_both"], *iou))
    headings = ("detector", "matching", "size", "objects", "p before", "p after")
    changes = ("change of p", "p low", "p high", "found in both", "change of IoU", "IoU low", "IoU high")
    note = (
        "Sizes are square roots of box areas, in pixels. p is the probability of the true class. objects.csv has every "
        "object."
    )
    return Table("by_size", "Probability and IoU by size", (*headings, *changes), rows, note, digits=3)


def _flat(row: Row, sizes: Sequence[float]) -> dict[str, object]:
    """One line of objects.csv."""
    measures = ("p_before", "p_after", "iou_before", "iou_after")
    about = {name: row[name] for name in ("detector", "image", "object", "class", "side")}
    measured = {f"{measure}, {matching}": row[matching][measure] for matching in MATCHINGS for measure in measures}
    return {**about, "size": nearest_size(row["side"], sizes), **measured}


def _charts(numbers: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[Figure]:
    figures = []
    for measure, quantity in (("change_of_p", "probability"), ("change_of_iou", "IoU")):
        for matching in MATCHINGS:
            series = {
                label: [
                    (float(size), means[measure])
                    for size, means in by_matching[matching]["by_size"].items()
                    if math.isfinite(means[measure].value)
                ]
                for label, by_matching in numbers.items()
            }
            figures.append(
                Figure(
                    f"{measure}_{matching.replace(' ', '_')}",
                    f"Change of {quantity} by size, {matching}",
                    lines(
                        series,
                        title=f"after re-texturing ({matching})",
                        place_title="square root of the box's area, pixels",
                        value_title=f"change of {quantity}",
                        logarithmic=True,
                    ),
                    "Means with 95 % bootstrap intervals.",
                )
            )
    return figures
