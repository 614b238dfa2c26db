"""One target object at the centre of an image and nothing else: what the single-object experiments share."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from detinv.detectors.base import AbstractDetector
from detinv.detectors.candidates import read_candidates_batch
from detinv.detectors.canvas import on_canvas
from detinv.detectors.regions import Regions
from detinv.errors import ConfigError
from detinv.experiments.common.cooccurrence import (
    SCORE_THRESH,
    NamedDetection,
    TargetedObject,
    named_detections,
    pixel_box,
)
from detinv.experiments.common.provenance import image_hash, layouts_hash
from detinv.experiments.common.setup import ExperimentSetup
from detinv.experiments.common.store import Images
from detinv.inputs.fingerprint import settings_hash
from detinv.inputs.numbers import image_size_option
from detinv.inputs.printable import quoted
from detinv.inversion.callbacks.pseudo_targets import PseudoTargets
from detinv.inversion.preset import Preset
from detinv.inversion.targets.base import Targets
from detinv.inversion.targets.single import SingleObjectRule
from detinv.layouts.batch import LayoutBatch
from detinv.layouts.labels import label_of
from detinv.layouts.layout import Layout
from detinv.results.io.names import file_stems

_OPTION = "experiment.objects"
# Images that pass the network together when rows are found.
_AT_ONCE = 16


@dataclass(frozen=True)
class CentralObjects:
    """The images of single-object experiments: one object of each class at the centre, a number of times.

    Args:
        seeds: images of each class.
        side: square root of the box's area, in pixels of the network's input.
        aspect: height over width.
        image_size: (height, width), which the detector resizes as it does any image.
        classes: by name; null for all.
        terms: of the preset's objective that are kept; "rpn_cls" also asks a first stage to propose the object.
        enough: see `SingleObjectRule`.

    Raises:
        ConfigError: for numbers out of range.

    Source: paper, section 4.4; section G.4 of the method. Departures: the published code takes the grid cell below half
    the grid's last index, which may lie far from the centre; here it is the candidate nearest to a box at the exact
    centre, and where its anchor really lies is stored.
    """

    seeds: int = 8
    side: float = 28.0
    aspect: float = 1.0
    image_size: Sequence[int] = (128, 128)
    classes: Sequence[str] | None = None
    terms: Sequence[str] = ("positive", "encoder_positive", "roi_cls")
    enough: float = SingleObjectRule.enough

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ConfigError(f"{_OPTION}.seeds={self.seeds}: choose at least 1")
        if not (self.side > 0 and self.aspect > 0):
            raise ConfigError(f"{_OPTION}: side={self.side:g} and aspect={self.aspect:g} must lie above 0")
        image_size_option(list(self.image_size), f"{_OPTION}.image_size")
        for option, names in (("classes", self.classes), ("terms", self.terms)):
            if names is not None and (isinstance(names, str) or not all(isinstance(name, str) for name in names)):
                raise ConfigError(f"{_OPTION}.{option}={quoted(names)}: give a list of names")
        if self.classes is not None and not self.classes:
            raise ConfigError(f"{_OPTION}.classes=[]: name at least one, or write null for all")
        # A mistake shows here, before anything is loaded.
        SingleObjectRule(self.enough)

    @property
    def decided(self) -> dict[str, str]:
        """What the paper leaves open about these images, and the decisions taken here."""
        return {
            "candidate": "of a dense head the row that its assigner gives first to a box at the exact centre of the "
            "image; of a second stage that box itself as region",
            "maximised": f"{', '.join(self.terms)}; until the class has probability {self.enough:g} at the candidate, "
            "or its logit the preset's positive_cap, so that nothing is drawn only to raise it further",
            "images": "the last iterate, rounded to 8 bit",
            "seen": "detections with score > 0.5 of the detector's own inference on the saved images",
            "the target object": "detections of the target class that overlap its anchor or the box it reports",
            "another name": "a detection of another class with IoU > 0.5 with the target object is no context",
        }

    def of_side(self, side: float) -> "CentralObjects":
        """Copy these options with boxes of another size."""
        return replace(self, side=side)

    def check(self, setup: ExperimentSetup, judge: str | None = None) -> None:
        """Load the judge, and make layouts for every detector; see `AbstractExperiment.check`.

        Raises:
            ConfigError: when the judge lacks a target class, so that it could never see the object.
        """
        for label in setup.labels:
            detector = setup.detector(label)
            names = self.names(detector)
            self.layouts(detector, names[0])
            known = names if judge is None else setup.detector(judge).class_names
            for name in names:
                if name not in known:
                    raise ConfigError(
                        f"experiment.judge={judge}: it does not know {label}'s class {quoted(name)}; choose another "
                        f"judge, null for none, or {_OPTION}.classes that both know"
                    )

    def names(self, detector: AbstractDetector) -> tuple[str, ...]:
        """List the target classes.

        Raises:
            LayoutError: for one that the detector does not know.
        """
        names = detector.class_names if self.classes is None else tuple(self.classes)
        for name in names:
            label_of(name, detector.class_names, f"{_OPTION}.classes")
        return names

    def layouts(self, detector: AbstractDetector, name: str) -> list[Layout]:
        """Make one layout for each seed, in the frame of the detector's input.

        Raises:
            ConfigError: when the box does not fit into it.
        """
        height, width = detector.network_size((int(self.image_size[0]), int(self.image_size[1])))
        wide, high = self.side / self.aspect**0.5, self.side * self.aspect**0.5
        if wide > width or high > height:
            raise ConfigError(
                f"{_OPTION}: side={self.side:g} with aspect={self.aspect:g} makes a box of {wide:g} x {high:g} pixels, "
                f"but the network's input has {width} x {height}; choose a smaller side or a larger image_size"
            )
        x, y = (width - wide) / 2, (height - high) / 2
        box = torch.tensor([[x, y, x + wide, y + high]])
        label = torch.tensor([label_of(name, detector.class_names, f"{_OPTION}.classes")])
        return [Layout(box, label, (height, width), f"{name}-{seed}") for seed in range(self.seeds)]

    def preset(self, preset: Preset) -> Preset:
        """Change a preset so that one candidate is optimised and everything else is free.

        Steps and views are plain: those that suit photographs fill the background with what nobody asked for.

        Raises:
            ConfigError: when the preset gives none of `terms` a weight, or one is no term.
        """
        kept = preset.objective.only(self.terms)
        if not set(kept.weights) & set(self.terms):
            raise ConfigError(f"{_OPTION}.terms={list(self.terms)}: the preset gives none of them a weight")
        return replace(
            preset,
            rule=SingleObjectRule(self.enough),
            objective=kept,
            augmentation=preset.augmentation.only_shifts(),
            precondition=None,
            settling=None,
        )

    def images(self, setup: ExperimentSetup, label: str, name: str, count: int | None = None) -> Images:
        """Invert the layouts of one class, or the first `count`; see `ExperimentSetup.invert`."""
        layouts = self.layouts(setup.detector(label), name)[:count]
        return setup.invert(self.key(setup, label, name), label, layouts, self.preset(setup.preset))

    def targeted(self, setup: ExperimentSetup, label: str, name: str) -> list[TargetedObject]:
        """Read the target candidate in each of the class's images."""
        detector = setup.detector(label)
        layouts, images = self.layouts(detector, name), self.images(setup, label, name)

        def compute() -> list[dict[str, Any]]:
            boxes, labels = [layout.boxes for layout in layouts], [layout.labels for layout in layouts]
            rows = targeted_rows(detector, setup.preset, images, layouts)
            found = read_candidates_batch(detector, images, boxes, labels, rows)
            return [
                {
                    "id": layout.id,
                    "name": name,
                    "asked": layout.boxes[0],
                    "anchor": candidate.anchors[0],
                    "box": candidate.boxes[0],
                    "score": candidate.probabilities[0],
                }
                for layout, candidate in zip(layouts, found, strict=True)
            ]

        provenance = setup.provenance(
            label,
            images=image_hash(images),
            layouts=layouts_hash(layouts),
            matching=settings_hash(setup.preset.matching),
        )
        return [
            TargetedObject(
                one["id"],
                one["name"],
                pixel_box(one["asked"]),
                pixel_box(one["anchor"]),
                pixel_box(one["box"]),
                one["score"],
            )
            for one in setup.keep(f"targeted/{self.key(setup, label, name)}", provenance, compute)
        ]

    def detections(
        self, setup: ExperimentSetup, label: str, name: str, judge: str | None = None
    ) -> list[list[NamedDetection]]:
        """Run a detector on each of the class's images: its detections above `SCORE_THRESH`, most certain first.

        Args:
            label: of the detector that the images were made for.
            judge: of the one that is run on them, or its registered name or path; by default the same.
        """
        judge = judge or label
        images = self.images(setup, label, name)

        def compute() -> list[list[dict[str, Any]]]:
            class_names = setup.detector(judge).class_names
            return [
                [asdict(one) for one in named_detections(found, class_names)] for found in setup.detect(judge, images)
            ]

        provenance = setup.provenance(judge, images=image_hash(images), score_thresh=SCORE_THRESH)
        # A judge may be given by the path of its file.
        (stem,) = file_stems([judge])
        kept = setup.keep(f"detections/{self.key(setup, label, name)}/{stem}", provenance, compute)
        return [[NamedDetection(one["name"], one["score"], pixel_box(one["box"])) for one in found] for found in kept]

    def key(self, setup: ExperimentSetup, label: str, name: str) -> str:
        """Return the key under which these images are stored; it has the detector, the side and the class."""
        names = setup.detector(label).class_names
        return f"{label}/{self.side:g}/{file_stems(names)[names.index(name)]}"


@torch.no_grad()
def targeted_rows(
    detector: AbstractDetector,
    preset: Preset,
    images: Sequence[UInt8[Tensor, "3 height width"]],
    layouts: Sequence[Layout],
) -> list[Int64[Tensor, " _object"]] | None:
    """Find the target rows of a dense head, or tokens of queries, in these images; None for a second stage.

    Args:
        preset: whose matching serves heads without suppression.
        images: in the frame of the detector's input, as the layouts are.
    """
    targets = PseudoTargets(SingleObjectRule(), preset.matching)
    rows: list[Tensor] = []
    for start in range(0, len(images), _AT_ONCE):
        chosen = layouts[start : start + _AT_ONCE]
        batch = LayoutBatch.collate(chosen, detector.size_divisor).to(detector.device)
        pixels = on_canvas(detector, images[start : start + _AT_ONCE], batch.canvas_size)
        predictions = detector(pixels, batch.image_sizes, Regions(batch.boxes, batch.valid))
        dense = targets.build(str(start), predictions, batch, Targets()).dense
        if dense is None:
            return None
        found = dense.positive_rows if dense.positive_identities is None else dense.positive_identities
        rows += [mine[: len(layout)].cpu() for mine, layout in zip(found, chosen, strict=True)]
    return rows
