"""`detinv attribute`: explain why a detector decided so."""

import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from detinv.attribution.archive import AttributionArchive, summary
from detinv.attribution.core.objects import ExplainedObjects, annotated_objects, detected_objects
from detinv.attribution.core.questions import as_questions
from detinv.attribution.explain import explain_image
from detinv.attribution.load import as_method, load_method
from detinv.attribution.measure import measures_of
from detinv.attribution.methods.base import AbstractMethod
from detinv.attribution.metrics.preset import load_preset
from detinv.commands import Build
from detinv.commands.attribute_errors import Source, check_errors, explain_mistakes
from detinv.commands.attribute_report import tell, write_overview, write_report
from detinv.commands.dashboard import check_dashboard, dashboard
from detinv.commands.out_dir import folder_of_all
from detinv.commands.photographs import load_photographs
from detinv.commands.terminal import console, tracked
from detinv.detectors.base import AbstractDetector
from detinv.detectors.load import build_detector
from detinv.errors import ConfigError
from detinv.inputs.numbers import is_count
from detinv.inversion.resume.fingerprint import detector_hash, packages_of
from detinv.layouts.layout import EXACT
from detinv.metrics.coco_results import read_results
from detinv.results.io.names import file_stems
from detinv.runtime.devices import usable_device
from detinv.runtime.processes import Processes, start_processes
from detinv.worlds.registry import load_world
from detinv.zoo.weights import weight_hash


def run(config: DictConfig, build: Build) -> None:
    """Explain all images, or those that are missing in `config.out_dir`."""
    for name in ("scenes", "max_detections", "processes"):
        if not is_count(config[name]):
            raise ConfigError(f"{name}={config[name]}: choose a whole number of at least 1")
    _check_max_images(config)
    device = usable_device(config.device)
    check_dashboard(config)
    with start_processes({"accelerator": device.type, "devices": config.processes}) as team, ExitStack() as until_done:
        # Several processes have a GPU each; one runs where it was told to.
        own = device.type == "cuda" and team.count > 1
        _run(config, build, team, torch.device(device.type, team.device) if own else device, until_done)


def _run(config: DictConfig, build: Build, team: Processes, device: torch.device, until_done: ExitStack) -> None:
    # The other processes print nothing.
    terminal = console(quiet=not team.first)
    methods = _methods(config)
    detector: AbstractDetector = build_detector(config.detector).to(device)
    questions = as_questions(list(config.questions), config.against, detector.class_names)
    preset = load_preset(str(config.metric_preset))
    metrics = preset.chosen([str(name) for name in config.metrics])
    source = _source(config, detector)
    if config.errors:
        check_errors(config, methods, source)
    # Only now, when the input has proved to be good: a mistake leaves no folder behind.
    out_dir = until_done.enter_context(folder_of_all(team, config))
    if config.errors:
        with dashboard(build(config.logger) if team.first else None, config) as board:
            explain_mistakes(config, detector, methods, source, out_dir, terminal, team, board)
        return
    settings = {
        "detector": detector_hash(detector),
        "packages": packages_of([detector]),
        "methods": {name: repr(method) for name, method in methods.items()},
        "questions": [repr(one) for one in questions],
        "metrics": {"names": metrics, "preset": repr(preset)},
        "seed": config.seed,
    }
    archive = AttributionArchive(out_dir, settings)
    stems = file_stems([str(Path(name).with_suffix("")) for name in source.names])

    def explained(numbers: list[int]) -> list[tuple[dict[str, Any], list[int]]]:
        return [one(number) for number in tracked(terminal, numbers, "explaining")]

    def one(number: int) -> tuple[dict[str, Any], list[int]]:
        """Return the entry of one image, and the detections whose raw prediction is not known."""
        team.check()
        name, image = source.names[number], source.images[number]
        objects, unknown = _objects(detector, source, number, config)
        key = archive.key(image, objects, f"image {number}")
        entry = archive.finished(stems[number], key)
        if entry is None:
            begun = time.perf_counter()
            made = explain_image(detector, image, objects, questions, methods, number=number, seed=config.seed)
            about = {"seconds": round(time.perf_counter() - begun, 3)}
            layout = None if source.layouts is None else source.layouts[number]
            found = measures_of(made, detector, image, objects, layout, preset, metrics, config.seed)
            entry = archive.store(stems[number], key, name, made, about, measures=found)
        return entry, unknown

    with dashboard(build(config.logger) if team.first else None, config) as board:
        found = team.share(explained, range(len(source.names)))
        if not team.first:
            return
        stored = [entry for entry, _ in found]
        unmatched = {name: unknown for name, (_, unknown) in zip(source.names, found, strict=True) if unknown}
        write_report(out_dir, config, stored, unmatched, weight_hash(detector))
        images = dict(zip(source.names, source.images, strict=True))
        overview = write_overview(out_dir, archive, stored, images, detector.class_names)
        for row in summary(stored):
            means = {name: one["mean"] for name, one in row["measures"].items() if one["maps"]}
            board.log({f"{row['method']}/{row['question']}/{name}": value for name, value in means.items()})
        if overview is not None:
            board.show("attributions", overview)
    tell(terminal, out_dir, stored, unmatched)


def _check_max_images(config: DictConfig) -> None:
    if config.max_images is None:
        return
    if not is_count(config.max_images):
        raise ConfigError(f"max_images={config.max_images}: choose a whole number of at least 1, or null for all")
    if config.images is None:
        raise ConfigError("max_images: it is for the files of images=DIR; choose how many scenes with scenes=N")


def _methods(config: DictConfig) -> dict[str, AbstractMethod]:
    names = [str(name) for name in config.methods]
    if not names or len(set(names)) < len(names):
        raise ConfigError("methods: name at least one, each once")
    if config.layers is None:
        return {name: load_method(name) for name in names}
    layers = [int(layer) if str(layer).isdigit() else str(layer) for layer in config.layers]
    return {name: as_method(name, layers) for name in names}


def _source(config: DictConfig, detector: AbstractDetector) -> Source:
    if config.detections is not None and config.annotations is None:
        raise ConfigError("detections: give the file that its ids of images and categories are from, annotations=FILE")
    if config.images is None:
        if config.annotations is not None:
            raise ConfigError("annotations: give the folder of its images as well, with images=DIR")
        world = load_world(str(config.world), seed=config.seed + 1_000)
        if tuple(world.class_names) != tuple(detector.class_names):
            raise ConfigError(
                f"world={world.name}: its classes are not those of the detector; choose the world it was trained on, "
                "or give photographs with images=DIR"
            )
        scenes = [world.scene(number) for number in range(config.scenes)]
        names, images = [scene.layout.id for scene in scenes], [scene.image for scene in scenes]
        return Source(names, images, truth=[scene.layout.without_masks() for scene in scenes])
    annotations = None if config.annotations is None else str(config.annotations)
    most = config.max_images
    names, images, annotated = load_photographs(str(config.images), annotations, detector, most)
    if annotated is None:
        return Source(names, images)
    layouts, crowds = annotated.layouts[:most], annotated.crowds[:most]
    if config.detections is None:
        return Source(names, images, layouts, layouts, crowds)
    # A results file may be of all annotated images.
    reported = read_results(str(config.detections), annotated)
    return Source(names, images, None, layouts, crowds, reported)


def _objects(
    detector: AbstractDetector, source: Source, number: int, config: DictConfig
) -> tuple[ExplainedObjects, list[int]]:
    """Return an image's objects, and the numbers of detections whose raw prediction is not known."""
    image = source.images[number]
    if source.layouts is not None:
        layout = source.layouts[number]
        return replace(annotated_objects(detector, image, layout.boxes, layout.labels), masks=layout.masks), []
    if source.reported is None:
        found, rounding = detector.detect([image])[0], EXACT
    else:
        found, rounding = source.reported.detections[number], source.reported.rounding
    best = found.above(config.score_thresh)
    order = best.scores.argsort(descending=True, stable=True)[: config.max_detections]
    return detected_objects(detector, image, best.select(order), rounding)
