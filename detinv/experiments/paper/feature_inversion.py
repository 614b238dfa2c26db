"""Feature inversion: how much of an image each layer of a detector keeps."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from detinv.detectors.base import AbstractDetector
from detinv.detectors.feature_layers import FeatureLayer
from detinv.detectors.features import find_layer
from detinv.errors import ConfigError
from detinv.experiments.common.base import AbstractExperiment
from detinv.experiments.common.network_scenes import NetworkScenes, in_network_frame, inside_boxes
from detinv.experiments.common.provenance import image_hash
from detinv.experiments.common.setup import ExperimentSetup
from detinv.experiments.common.store import Images
from detinv.inputs.fingerprint import settings_hash
from detinv.inversion.features import feature_errors, invert_features
from detinv.inversion.regularisers.alpha_norm import AlphaNorm
from detinv.inversion.regularisers.base import AbstractRegulariser
from detinv.inversion.regularisers.total_variation import TotalVariation
from detinv.layouts.layout import Layout
from detinv.metrics.coco_ap import average_precision
from detinv.metrics.intervals import mean_interval, wilson
from detinv.metrics.reconstruction import image_similarity
from detinv.metrics.redetection import redetection
from detinv.results.io.names import file_stems
from detinv.results.reports.findings import Cell, Figure, Findings, Table
from detinv.viz.charts import bars
from detinv.viz.draw import draw_detections
from detinv.viz.image import Picture, rescale, scale_within
from detinv.viz.sheet import SheetRow, sheet

ORIGINAL = "original"
MEASURES = {
    "feature_error": "feature error",
    "start_error": "of the start image",
    "rmse_inside": "RMSE inside",
    "rmse_outside": "RMSE outside",
    "correlation_inside": "correlation inside",
    "correlation_outside": "correlation outside",
}
"""What is measured of every image, with its name in tables."""
# Width of one picture in the figure, in pixels.
_CELL = 256


class FeatureReconstruction(AbstractExperiment):
    """Photographs reconstructed from the features that one layer has of them, layer by layer.

    Of every image: how near its features have come to the photograph's; how near its pixels are to the photograph's,
    inside the objects' boxes and outside; and what the detector detects in it. For the features of one box, the image's
    largest object is what counts as inside, and what the detector is asked for.

    Args:
        layers: names or paths, see `find_layer`; by default stages of the backbone from the stride of the finest level
            on, all levels, and the pooled regions.
        total_variation, alpha_norm: weights of the regularisers, sums over the image, added to a feature error whose
            square is 1 for features that are all zero.
        score_thresh: a detection finds an object from a score above this one.
        examples: images in the picture.

    Raises:
        ConfigError: for a number out of range.

    Source: section G.10 of the method, after Mahendran & Vedaldi 2015.
    """

    title = "Feature inversion: what each layer keeps of an image"

    def __init__(
        self,
        layers: Sequence[str] | None = None,
        total_variation: float = 1e-5,
        alpha_norm: float = 1e-5,
        score_thresh: float = 0.5,
        examples: int = 6,
    ) -> None:
        for name, value in (("total_variation", total_variation), ("alpha_norm", alpha_norm)):
            if value < 0:
                raise ConfigError(f"experiment.{name}={value}: choose 0 or more")
        if not 0 <= score_thresh < 1:
            raise ConfigError(f"experiment.score_thresh={score_thresh}: choose a number from 0 to below 1")
        if examples < 0:
            raise ConfigError(f"experiment.examples={examples}: choose 0 or more")
        self.layers = None if layers is None else tuple(layers)
        self.priors = {"total_variation": total_variation, "alpha_norm": alpha_norm}
        self.score_thresh = score_thresh
        self.examples = examples

    def check(self, setup: ExperimentSetup) -> None:
        """See `AbstractExperiment.check`."""
        setup.check_layouts()

    def run(self, setup: ExperimentSetup) -> Findings:
        """Invert every layer of every detector.

        Raises:
            ConfigError: when there are no photographs, or a detector lacks a layer.
        """
        layers = {label: self.layers_of(setup.detector(label)) for label in setup.labels}
        numbers: dict[str, Any] = {}
        figures = []
        for stem, label in zip(file_stems(setup.labels), setup.labels, strict=True):
            detector = setup.detector(label)
            scenes = in_network_frame(detector, *setup.photographs(label))
            start = self._reconstruct(setup, f"{stem}/start", label, layers[label][0], scenes, steps=0)
            reconstructed: dict[str, tuple[Images, NetworkScenes]] = {}
            numbers[label] = {ORIGINAL: self._seen(detector, scenes.images, scenes.layouts), "layers": {}}
            for layer, name in zip(layers[label], file_stems([layer.name for layer in layers[label]]), strict=True):
                about = scenes.of_largest() if layer.per_region else scenes
                images = self._reconstruct(setup, f"{stem}/{name}", label, layer, about)
                setup.log(f"{label} judges its reconstructions from {layer.name}")
                ids = [layout.id for layout in about.layouts]
                starts = [one for one, layout in zip(start, scenes.layouts, strict=True) if layout.id in ids]
                numbers[label]["layers"][layer.name] = self._measure(detector, layer, images, starts, about)
                reconstructed[layer.name] = images, about
            figures += self._figures(detector, label, stem, scenes, reconstructed, numbers[label]["layers"])
        return Findings(
            numbers=numbers,
            tables=[
                Table(
                    "layers",
                    "What is left of photographs in each layer's features",
                    ("detector", "layer", *MEASURES.values(), "objects found", "AP"),
                    _rows(numbers),
                    "Means over images. Feature error: squared distance over the square of the photograph's features, "
                    "for the reconstruction and for its start image. RMSE of pixels in units of [0, 1]; correlation of "
                    "pixels, each channel's mean taken off. Objects found and AP in percent, by the detector itself.",
                    digits=2,
                )
            ],
            figures=figures,
            decided={
                "images": "photographs, resized to the network's input; reconstructions are judged as saved, 8 bit",
                "inside": "the objects' boxes; for features of one box, the box of the image's largest object",
                "AP": "with the layouts as truth; for features of one box, with the largest object alone",
                "objective": f"relative feature error + {self.priors['total_variation']:g} total variation + "
                f"{self.priors['alpha_norm']:g} alpha norm, with the preset's pixels, optimizer, schedule and updates, "
                "without views",
                "intervals": "95 %; bootstrap over images, Wilson's for objects found",
            },
        )

    def _regularisers(self) -> dict[str, AbstractRegulariser]:
        return {
            "total_variation": TotalVariation(self.priors["total_variation"]),
            "alpha_norm": AlphaNorm(self.priors["alpha_norm"]),
        }

    def layers_of(self, detector: AbstractDetector) -> list[FeatureLayer]:
        """Return the layers to be inverted, in the order of the report."""
        if self.layers is not None:
            return [find_layer(detector, name) for name in self.layers]
        finest = min(layer.stride for layer in detector.level_layers() if layer.stride)
        layers = detector.feature_layers()
        return [layer for layer in layers if layer.name == "roi" or layer.stride and layer.stride >= finest]

    def _reconstruct(
        self,
        setup: ExperimentSetup,
        key: str,
        label: str,
        layer: FeatureLayer,
        scenes: NetworkScenes,
        steps: int | None = None,
    ) -> Images:
        detector = setup.detector(label)
        steps = setup.steps if steps is None else steps
        preset = replace(setup.preset, regularisers=self._regularisers())

        def make(members: Sequence[int], unfinished: Path) -> Images:
            return invert_features(
                detector,
                layer,
                [scenes.images[index] for index in members],
                [scenes.layouts[index] for index in members],
                preset,
                steps=steps,
                seed=setup.seed,
                trainer=setup.processes.trainer(setup.trainer),
            )

        shared = setup.provenance(
            label,
            layer=settings_hash(layer),
            preset=settings_hash(preset),
            steps=steps,
            seed=setup.seed,
            precision=setup.precision,
        )
        own = [{"photograph": image_hash([image])} for image in scenes.images]
        doing = f"reconstructing from {layer.name} of {label}" if steps else "start images"
        return setup.keep_images(key, doing, scenes.layouts, detector.size_divisor, shared, make, own)

    def _measure(
        self, detector: AbstractDetector, layer: FeatureLayer, images: Images, start: Images, scenes: NetworkScenes
    ) -> dict[str, Any]:
        inside, outside = [], []
        for image, other, layout in zip(images, scenes.images, scenes.layouts, strict=True):
            region = inside_boxes(layout)
            inside.append(image_similarity(image, other, region))
            outside.append(image_similarity(image, other, ~region))
        errors = partial(feature_errors, detector, layer, wanted=scenes.images, layouts=scenes.layouts)
        return {
            "feature_error": mean_interval(errors(images)),
            "start_error": mean_interval(errors(start)),
            "rmse_inside": mean_interval([near.rmse for near in inside]),
            "rmse_outside": mean_interval([near.rmse for near in outside]),
            "correlation_inside": mean_interval([near.correlation for near in inside]),
            "correlation_outside": mean_interval([near.correlation for near in outside]),
            **self._seen(detector, images, scenes.layouts),
        }

    def _seen(self, detector: AbstractDetector, images: Images, layouts: Sequence[Layout]) -> dict[str, Any]:
        detections = detector.detect(images)
        counts = redetection(layouts, detections, self.score_thresh)
        return {
            "AP": average_precision(layouts, detections, detector.class_names)["AP"],
            "redetected": wilson(counts["redetected"], counts["objects"]),
        }

    def _figures(
        self,
        detector: AbstractDetector,
        label: str,
        stem: str,
        scenes: NetworkScenes,
        reconstructed: Mapping[str, tuple[Images, NetworkScenes]],
        layers: Mapping[str, Mapping[str, Any]],
    ) -> list[Figure]:
        series = {
            MEASURES[measure]: {name: found[measure] for name, found in layers.items()}
            for measure in ("correlation_inside", "correlation_outside")
        }
        chart = Figure(
            f"correlation_{stem}",
            f"Pixels of reconstructions from each layer of {label} against the photograph's",
            bars(series),
            "Means over images with 95 % intervals; inside and outside the objects' boxes.",
        )
        if not self.examples:
            return [chart]
        picture = self._picture(detector.class_names, scenes, reconstructed)
        note = "The images as they are saved; the box that a layer's features are about is drawn on its image."
        return [Figure(f"layers_{stem}", f"Photographs, reconstructed from layers of {label}", picture, note), chart]

    def _picture(
        self,
        class_names: Sequence[str],
        scenes: NetworkScenes,
        reconstructed: Mapping[str, tuple[Images, NetworkScenes]],
    ) -> Picture:
        """Arrange photographs in rows and layers in columns."""
        rows = []
        for number, layout in enumerate(scenes.layouts[: self.examples]):
            scale = scale_within(layout.image_size, _CELL)
            cells = [rescale(scenes.images[number], scale)]
            for images, about in reconstructed.values():
                place = about.number_of(layout.id)
                if place is None:
                    cells.append(rescale(torch.full_like(scenes.images[number], 255), scale))
                elif about is scenes:
                    cells.append(rescale(images[place], scale))
                else:
                    cells.append(draw_detections(images[place], about.layouts[place], class_names, scale=scale))
            rows.append(SheetRow(layout.id, cells))
        return sheet((ORIGINAL, *reconstructed), rows)


def _rows(numbers: Mapping[str, Mapping[str, Any]]) -> list[tuple[Cell, ...]]:
    rows: list[tuple[Cell, ...]] = []
    for label, found in numbers.items():
        original = found[ORIGINAL]
        rows.append((label, ORIGINAL, *[None] * len(MEASURES), 100 * original["redetected"].value, original["AP"]))
        for name, layer in found["layers"].items():
            means = (layer[measure].value for measure in MEASURES)
            rows.append((label, name, *means, 100 * layer["redetected"].value, layer["AP"]))
    return rows
