"""Figure 13: objects that are given another texture in their own outline, before and after."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from detinv.errors import ConfigError
from detinv.experiments.common.base import AbstractExperiment
from detinv.experiments.common.setup import ExperimentSetup
from detinv.experiments.common.store import Images
from detinv.experiments.textures.base import TextureMethod
from detinv.experiments.textures.scene import (
    END_TO_END,
    FIXED,
    FOUND_IOU,
    MATCHINGS,
    ObjectRecord,
    RetexturedScene,
    measured,
)
from detinv.experiments.textures.summary import change_charts, change_less, csv_line, means, nearest_size, size_table
from detinv.results.io.files import write_csv
from detinv.results.io.images import read_images
from detinv.results.io.names import file_stems
from detinv.results.reports.findings import Figure, Findings
from detinv.viz.captioned import Captioned, captioned_grid, close_up

_EXAMPLES = "examples"
Image = UInt8[Tensor, "3 _ _"]
Example = tuple[str, int]
"""Stem of a scene and number of one of its objects."""


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
        examples: objects in the picture, spread over the sizes.

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

    def run(self, setup: ExperimentSetup) -> Findings:
        """Measure every annotated object of every photograph with every detector; objects.csv has each of them.

        Raises:
            ConfigError: when no layout has masks.
            LayoutError: when a detector lacks a class.
        """
        scenes, skipped = self._scenes(setup)
        examples = self._examples(scenes)
        composites: dict[Example, Image] = {}
        rows: list[ObjectRecord] = []
        for number, scene in enumerate(scenes, 1):
            setup.log(f"image {number} of {len(scenes)}: {scene.layout.id}, {len(scene.layout)} objects")
            for label in setup.labels:
                rows += self._kept(setup, label, scene)
            composites |= self._composites(setup, scene, examples)
            scene.release()
        composites = {example: composites[example] for example in examples}
        # Thousands of lines on COCO: a file next to the report, not a part of it.
        write_csv(setup.out_dir / "objects.csv", [csv_line(row, self.sizes) for row in rows])
        by_label = {label: [row for row in rows if row["detector"] == label] for label in setup.labels}
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
            tables=[size_table(numbers)],
            figures=[*change_charts(numbers), *self._picture(scenes, composites, by_label)],
            decided={
                "texture": self.texture.describe(),
                "style images": "another image of the same set for each, by a seeded cycle"
                if self.styles is None
                else f"those of {self.styles}, in a seeded order",
                "size": "square root of the annotated box's area in pixels of the photograph; nearest of "
                + ", ".join(f"{size:g}" for size in self.sizes)
                + " on a logarithmic scale",
                "objects": "all that are annotated and not a crowd; one at a time is re-textured",
                END_TO_END: f"best detection of the class with IoU >= {FOUND_IOU:g}; probability 0 without one",
                FIXED: "the row of highest score among those whose box has IoU >= 0.5 before; of two stages, the "
                "second with the annotation as region",
                "intervals": "95 %, jackknife over images",
            },
        )

    def _scenes(self, setup: ExperimentSetup) -> tuple[list[RetexturedScene], int]:
        """Collect the photographs with masks, and count those without, which are left out."""
        first = setup.labels[0]
        images, layouts = setup.photographs(first)
        stems = file_stems([layout.id for layout in layouts])
        styles = self._styles(images, setup.seed)
        described = self.texture.describe()
        scenes = []
        masked = False
        for image, layout, stem, style in zip(images, layouts, stems, styles, strict=True):
            if layout.masks is None:
                continue
            masked = True
            # An object without pixels has no texture.
            layout = layout.select(layout.masks.flatten(1).any(1))
            if len(layout):
                names = setup.detector(first).class_names
                scenes.append(RetexturedScene(image, layout, names, stem, style, self.texture, described, setup.seed))
        if not scenes:
            wanted = "an object" if masked else "masks: set layout.masks=true, or give annotations with segmentations"
            raise ConfigError(f"this experiment re-textures objects inside their masks, and no layout has {wanted}")
        return scenes, len(layouts) - len(scenes)

    def _styles(self, images: Images, seed: int) -> Images:
        """Choose a style image for each image: another image, unless there is only one."""
        generator = torch.Generator().manual_seed(seed)
        if self.styles is not None:
            _, found = read_images(self.styles)
            order = torch.randperm(len(found), generator=generator).tolist()
            return [found[order[number % len(order)]] for number in range(len(images))]
        order = torch.randperm(len(images), generator=generator).tolist()
        after = dict(zip(order, [*order[1:], order[0]], strict=True))
        return [images[after[number]] for number in range(len(images))]

    def _kept(self, setup: ExperimentSetup, label: str, scene: RetexturedScene) -> list[ObjectRecord]:
        detector = setup.detector(label)
        return setup.keep(
            f"objects/{label}/{scene.stem}",
            setup.provenance(label, **scene.provenance),
            lambda: measured(label, detector, scene, setup.batch_size),
        )

    def _summary(self, rows: Sequence[ObjectRecord], matching: str) -> dict[str, Any]:
        """Means of all objects and of those of each size, and how these differ from those of the smallest size.

        Sizes without an object are left out.
        """
        bins: dict[float, list[ObjectRecord]] = {}
        for row in rows:
            bins.setdefault(nearest_size(row["side"], self.sizes), []).append(row)
        by_size = {f"{size:g}": means(bins[size], matching) for size in sorted(bins)}
        for size in sorted(bins)[1:]:
            by_size[f"{size:g}"]["change_of_p_less_smallest"] = change_less(bins[size], bins[min(bins)], matching)
        return {"overall": means(rows, matching), "by_size": by_size}

    def _examples(self, scenes: Sequence[RetexturedScene]) -> list[Example]:
        """Choose the objects of the picture: sizes take turns, from images as different as possible."""
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

    def _composites(
        self, setup: ExperimentSetup, scene: RetexturedScene, examples: Sequence[Example]
    ) -> dict[Example, Image]:
        """The re-textured versions of a scene's examples; stored, so that a continued run need not make them again."""
        mine = [example for example in examples if example[0] == scene.stem]
        if not mine:
            return {}
        images = setup.store.images(
            _EXAMPLES,
            f"re-texturing {scene.layout.id}",
            [f"{stem}-{number}" for stem, number in mine],
            [setup.provenance(**scene.provenance)] * len(mine),
            [range(len(mine))],
            lambda members: [scene.composites[mine[place][1]] for place in members],
        )
        return dict(zip(mine, images, strict=True))

    def _picture(
        self,
        scenes: Sequence[RetexturedScene],
        composites: Mapping[Example, Image],
        by_label: Mapping[str, Sequence[ObjectRecord]],
    ) -> list[Figure]:
        if not composites:
            return []
        by_stem = {scene.stem: scene for scene in scenes}
        cells = []
        for (stem, number), after in composites.items():
            scene = by_stem[stem]
            box = scene.layout.boxes[number].tolist()
            text = [f"{scene.names[int(scene.layout.labels[number])]}, {scene.sides[number]:.0f} px"]
            for label, rows in by_label.items():
                row = next(row for row in rows if (row["stem"], row["object"]) == (stem, number))
                found = row[FIXED]
                text.append(f"{label}: {found['p_before']:.2f} -> {found['p_after']:.2f}")
            cells.append(Captioned([close_up(scene.image, box), close_up(after, box)], text))
        return [
            Figure(
                "examples",
                "Originals and their re-textured versions",
                captioned_grid(cells, columns=3),
                "Probability of the true class before and after, at the fixed candidate. By size, not by result.",
            )
        ]
