"""`detinv attribute errors=true`: tell what the detector got wrong, and explain the worst of it."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from torch import Tensor

from detinv.attribution.archive import AttributionArchive
from detinv.attribution.core.objects import ExplainedObjects
from detinv.attribution.methods.base import AbstractMethod
from detinv.attribution.mistakes.cases import Case, worst_cases
from detinv.attribution.mistakes.kinds import Thresholds
from detinv.attribution.mistakes.pictures import case_picture, explain_case
from detinv.attribution.mistakes.report import ErrorReport, ImageErrors, image_errors
from detinv.attribution.mistakes.table import counts, tables
from detinv.commands.dashboard import numbers_of
from detinv.commands.terminal import literal, narrow_table, tracked
from detinv.detectors.base import AbstractDetector
from detinv.errors import ConfigError
from detinv.inputs.numbers import is_count
from detinv.inversion.resume.fingerprint import detector_hash, packages_of
from detinv.layouts.layout import Layout
from detinv.metrics.coco_results import ReportedDetections
from detinv.results.io.files import write_json, write_text
from detinv.results.io.images import read_image
from detinv.results.reports.findings import Figure, Findings
from detinv.results.reports.write_findings import render_findings
from detinv.runtime.loggers import Dashboard
from detinv.runtime.processes import Processes

# Rows of a printed table; all are in the report.
_PRINTED = 10


@dataclass(frozen=True)
class Source:
    """Images by name.

    Args:
        layouts: the objects to explain, where a file says them.
        truth: the objects in the images, where they are known.
        crowds: see `AnnotatedImages`.
        reported: detections to explain instead of the detector's own, where a file says them.
    """

    names: list[str]
    images: list[Tensor]
    layouts: list[Layout] | None = None
    truth: list[Layout] | None = None
    crowds: list[Layout] | None = None
    reported: ReportedDetections | None = None


def check_errors(config: DictConfig, methods: Mapping[str, AbstractMethod], source: Source) -> None:
    """Raise ConfigError if errors cannot be explained as asked: no annotations, several methods, a results file."""
    if source.reported is not None:
        raise ConfigError("errors=true: it judges what the detector itself detects; leave out detections=FILE")
    if source.truth is None:
        raise ConfigError("errors=true: give the objects of the images as well, with annotations=FILE")
    if len(methods) != 1:
        raise ConfigError(f"methods: errors=true takes one, got {len(methods)}")
    if not is_count(config.errors_drawn):
        raise ConfigError(f"errors_drawn={config.errors_drawn}: choose a whole number of at least 1")
    _thresholds(config)


def explain_mistakes(
    config: DictConfig,
    detector: AbstractDetector,
    methods: Mapping[str, AbstractMethod],
    source: Source,
    out_dir: Path,
    terminal: Console,
    team: Processes,
    board: Dashboard,
) -> None:
    """Write errors.json, report.html and pictures of the worst errors, and log their numbers and pictures.

    Processes share the images, then the worst errors; the first one writes and logs.

    Args:
        config, methods, source: that `check_errors` accepts.
    """
    assert source.truth is not None
    truth, thresholds = source.truth, _thresholds(config)
    crowds: Sequence[Layout | None] = [None] * len(source.names) if source.crowds is None else source.crowds

    def judged(numbers: list[int]) -> list[ImageErrors]:
        return [
            image_errors(detector, source.images[number], truth[number], thresholds, crowds[number])
            for number in tracked(terminal, numbers, "judging")
        ]

    found = team.share(judged, range(len(source.names)))
    report = ErrorReport(found, tuple(detector.class_names), thresholds)
    cases = worst_cases(report, config.errors_drawn)
    (name, method) = next(iter(methods.items()))
    settings = {
        "detector": detector_hash(detector),
        "packages": packages_of([detector]),
        "method": {name: repr(method)},
        "seed": config.seed,
    }
    archive = AttributionArchive(out_dir, settings)

    def explained(numbers: list[int]) -> list[dict[str, Any]]:
        return [one(number) for number in tracked(terminal, numbers, "explaining")]

    def one(number: int) -> dict[str, Any]:
        team.check()
        case = cases[number]
        stem, image = f"error_{number + 1:02d}", source.images[case.image]
        key = archive.key(image, _of_case(case), repr(case))
        entry = archive.finished(stem, key)
        if entry is None:
            begun = time.perf_counter()
            made = explain_case(detector, image, case, method, name=name, seed=config.seed)
            picture = case_picture(image, case, made.attributions, source.names[case.image])
            about = {"error": case.title, "said": case.sentence, "seconds": round(time.perf_counter() - begun, 3)}
            entry = archive.store(stem, key, source.names[case.image], made, about, picture)
        return entry

    stored = team.share(explained, range(len(cases)))
    if not team.first:
        return
    _write(out_dir, config, source.names, report, stored)
    numbers = {name: value for name, value in counts(report).items() if name != "classes"}
    board.log(numbers_of(numbers, "errors/"))
    for entry in stored:
        board.show(f"errors/{entry['file']}", _picture(out_dir / "pictures" / f"{entry['file']}.png"))
    _tell(terminal, out_dir, report)


def _thresholds(config: DictConfig) -> Thresholds:
    return Thresholds(config.fg_iou_thresh, config.bg_iou_thresh, config.score_thresh)


def _of_case(case: Case) -> ExplainedObjects:
    boxes = [box for box in (case.annotated, case.detected, case.rival) if box is not None]
    labels = torch.full((len(boxes),), case.label)
    return ExplainedObjects(torch.stack(boxes).float(), labels, torch.zeros(len(boxes)), labels)


def _write(
    out_dir: Path, config: DictConfig, names: list[str], report: ErrorReport, stored: list[dict[str, Any]]
) -> None:
    found = counts(report)
    limits = {
        "score_thresh": report.thresholds.score_thresh,
        "fg_iou_thresh": report.thresholds.fg_iou_thresh,
        "bg_iou_thresh": report.thresholds.bg_iou_thresh,
    }
    images = [{"image": name, **one} for name, one in zip(names, report.entries(), strict=True)]
    worst = [{name: value for name, value in one.items() if name != "key"} for one in stored]
    write_json(out_dir / "errors.json", {"thresholds": limits, "counts": found, "images": images, "worst": worst})
    figures = [
        Figure(one["file"], f"{one['image']}: {one['error']}", _picture(out_dir / "pictures" / f"{one['file']}.png"))
        for one in stored
    ]
    findings = Findings(found, tables(report), figures)
    write_text(
        out_dir / "report.html",
        render_findings(findings, OmegaConf.to_yaml(config), "What the detector got wrong", limits),
    )


def _picture(path: Path) -> Any:
    return read_image(path).permute(1, 2, 0).contiguous().numpy()


def _tell(terminal: Console, out_dir: Path, report: ErrorReport) -> None:
    """Print the tables, of many classes those with most errors."""
    for table in tables(report):
        if not table.rows:
            terminal.print("no object was lost\n")
            continue
        terminal.print(narrow_table(table, _PRINTED))
        if len(table.rows) > _PRINTED:
            terminal.print(f"{len(table.rows) - _PRINTED} more classes are in the report")
        terminal.print()
    terminal.print(f"report: {literal(out_dir / 'report.html')}", soft_wrap=True)
