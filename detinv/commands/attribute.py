"""`detinv attribute`: explain why a detector decided so."""

import time
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import track
from rich.table import Table as ConsoleTable

from detinv.attribution.archive import AttributionArchive, summary
from detinv.attribution.core.objects import ExplainedObjects, annotated_objects, detected_objects
from detinv.attribution.core.questions import as_questions
from detinv.attribution.explain import explain_image
from detinv.attribution.load import as_method, load_method
from detinv.attribution.measure import measures_of
from detinv.attribution.methods.base import AbstractMethod
from detinv.attribution.metrics.preset import load_preset
from detinv.commands import Build
from detinv.commands.attribute_errors import Source, explain_mistakes
from detinv.commands.photographs import load_photographs
from detinv.commands.terminal import console, literal
from detinv.detectors.base import AbstractDetector
from detinv.detectors.load import build_detector
from detinv.errors import ConfigError
from detinv.inputs.numbers import is_count
from detinv.results.io.files import prepare_out_dir, write_json, write_text
from detinv.results.io.images import read_image
from detinv.results.io.names import file_stems
from detinv.results.io.resume import claim_folder
from detinv.results.reports.findings import Figure, Findings, Table
from detinv.results.reports.write_findings import render_findings
from detinv.runtime.devices import usable_device
from detinv.worlds.registry import load_world
from detinv.zoo.weights import weight_hash

# Pictures in the report; all are in the folder.
_DRAWN = 12


def run(config: DictConfig, build: Build) -> None:
    """Explain all images, or those that are missing in `config.out_dir`."""
    terminal = console()
    for name in ("scenes", "max_detections"):
        if not is_count(config[name]):
            raise ConfigError(f"{name}={config[name]}: choose a whole number of at least 1")
    methods = _methods(config)
    detector: AbstractDetector = build_detector(config.detector).to(usable_device(config.device))
    questions = as_questions(list(config.questions), config.against, detector.class_names)
    preset = load_preset(str(config.metric_preset))
    metrics = preset.chosen([str(name) for name in config.metrics])
    source = _source(config, detector)
    out_dir = prepare_out_dir(config.out_dir)
    claim_folder(out_dir, config)
    if config.errors:
        explain_mistakes(config, detector, methods, source, out_dir, terminal)
        return
    settings = {
        "weights": weight_hash(detector),
        "methods": {name: repr(method) for name, method in methods.items()},
        "questions": [repr(one) for one in questions],
        "metrics": {"names": metrics, "preset": repr(preset)},
        "seed": config.seed,
    }
    archive = AttributionArchive(out_dir, settings)
    stems = file_stems([str(Path(name).with_suffix("")) for name in source.names])
    stored = []
    unmatched: dict[str, list[int]] = {}
    for number in track(range(len(source.names)), "explaining", console=terminal, disable=not terminal.is_terminal):
        name, image = source.names[number], source.images[number]
        objects, unknown = _objects(detector, source, number, config)
        if unknown:
            unmatched[name] = unknown
        key = archive.key(image, objects)
        entry = archive.finished(stems[number], key)
        if entry is None:
            begun = time.perf_counter()
            explained = explain_image(detector, image, objects, questions, methods, number=number, seed=config.seed)
            about = {"seconds": round(time.perf_counter() - begun, 3)}
            layout = None if source.layouts is None else source.layouts[number]
            found = measures_of(explained, detector, image, objects, layout, preset, metrics, config.seed)
            entry = archive.store(stems[number], key, name, explained, about, measures=found)
        stored.append(entry)
    _write(out_dir, config, stored, unmatched, weight_hash(detector))
    _tell(terminal, out_dir, stored, unmatched)


def _methods(config: DictConfig) -> dict[str, AbstractMethod]:
    names = [str(name) for name in config.methods]
    if not names or len(set(names)) < len(names):
        raise ConfigError("methods: name at least one, each once")
    if config.layers is None:
        return {name: load_method(name) for name in names}
    layers = [int(layer) if str(layer).isdigit() else str(layer) for layer in config.layers]
    return {name: as_method(name, layers) for name in names}


def _source(config: DictConfig, detector: AbstractDetector) -> Source:
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
    names, images, annotated = load_photographs(str(config.images), annotations, detector)
    if annotated is None:
        return Source(names, images)
    return Source(names, images, annotated.layouts, annotated.layouts, annotated.crowds)


def _objects(
    detector: AbstractDetector, source: Source, number: int, config: DictConfig
) -> tuple[ExplainedObjects, list[int]]:
    """Return an image's objects, and the numbers of detections whose raw prediction is not known."""
    image = source.images[number]
    if source.layouts is not None:
        layout = source.layouts[number]
        return annotated_objects(detector, image, layout.boxes, layout.labels), []
    (found,) = detector.detect([image])
    best = found.above(config.score_thresh)
    order = best.scores.argsort(descending=True, stable=True)[: config.max_detections]
    return detected_objects(detector, image, best.select(order))


def _write(
    out_dir: Path, config: DictConfig, stored: list[dict[str, Any]], unmatched: dict[str, list[int]], weights: str
) -> None:
    entries = [{name: value for name, value in one.items() if name != "key"} for one in stored]
    write_json(out_dir / "attributions.json", {"images": entries, "unmatched": unmatched, "weights": weights})
    rows = summary(stored)
    write_json(out_dir / "metrics.json", {"maps": rows, "preset": config.metric_preset})
    config_yaml = OmegaConf.to_yaml(config)
    columns = ("method", "question", "maps", "maximum in box (%)", "energy in box (%)", "compactness")
    table = Table(
        "where_maps_lie",
        "Where the maps lie",
        columns,
        [
            (
                row["method"],
                row["question"],
                row["maps"],
                100 * row["maximum_in_box"],
                100 * row["energy_in_box"],
                row["compactness"],
            )
            for row in rows
        ],
        "Of the explained object's own box. Compactness: mean distance of the energy from the maximum, in half "
        "diagonals of the box.",
    )
    figures = [
        Figure(f"image_{number}", one["image"], _picture(out_dir / "pictures" / f"{one['file']}.png"))
        for number, one in enumerate([one for one in stored if one["attributions"]][:_DRAWN])
    ]
    findings = Findings({}, [table, _measure_table(rows, str(config.metric_preset))] if rows else [], figures)
    page = render_findings(findings, config_yaml, "Why the detector decided so", {"weights": weights})
    write_text(out_dir / "report.html", page)


def _measure_table(rows: list[dict[str, Any]], preset: str) -> Table:
    names = list(dict.fromkeys(name for row in rows for name, one in row["measures"].items() if one["maps"]))
    cells = []
    for row in rows:
        means = [row["measures"].get(name, {"maps": 0}) for name in names]
        shown = [f"{one['mean']:.3f} [{one['low']:.3f}, {one['high']:.3f}]" if one["maps"] else "-" for one in means]
        cells.append((row["method"], row["question"], *shown))
    title = f"Measures, preset {preset}"
    note = "Means with intervals of 95 %, bootstrap over maps. Of annotated objects, where there are annotations."
    headings = [name.replace("_", " ") for name in names]
    return Table("measures", title, ("method", "question", *headings), cells, note)


def _picture(path: Path) -> Any:
    return read_image(path).permute(1, 2, 0).contiguous().numpy()


def _tell(terminal: Console, out_dir: Path, stored: list[dict[str, Any]], unmatched: dict[str, list[int]]) -> None:
    table = ConsoleTable("method", "question", "layer", "maps", "maximum in box", "energy in box")
    layers: dict[tuple[str, str], str] = {}
    for one in stored:
        for entry in one["attributions"]:
            layers.setdefault((entry["method"], entry["question"]), entry["layer"])
    for row in summary(stored):
        table.add_row(
            row["method"],
            row["question"],
            layers[row["method"], row["question"]],
            str(row["maps"]),
            f"{100 * row['maximum_in_box']:.0f} %",
            f"{100 * row['energy_in_box']:.0f} %",
        )
    if layers:
        terminal.print(table)
    else:
        terminal.print("no object was found in any image; lower score_thresh, or give annotations")
    for name, numbers in unmatched.items():
        which = ", ".join(map(str, numbers))
        terminal.print(f"{literal(name)}: the raw prediction of detection {which} is not known; not explained")
    terminal.print(f"report: {literal(out_dir / 'report.html')}", soft_wrap=True)
