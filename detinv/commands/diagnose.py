"""`detinv diagnose`: tell what a detector misses in the images of a run, and why."""

from functools import partial
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from detinv.attribution.mistakes.diagnosis import Diagnosis, diagnose
from detinv.attribution.mistakes.kinds import Thresholds
from detinv.commands import Build
from detinv.commands.photographs import load_photographs
from detinv.commands.terminal import console, literal, narrow_table, tracked
from detinv.config.trust import check_decisions, check_targets
from detinv.detectors.base import AbstractDetector
from detinv.detectors.load import build_detector
from detinv.errors import ConfigError
from detinv.inputs.plain_yaml import YAML_ERRORS, check_plain_yaml, yaml_problem
from detinv.results.io.files import prepare_out_dir, write_json
from detinv.results.io.names import file_stems
from detinv.results.io.resume import replace_results, replaced_folder
from detinv.results.reports.findings import Findings
from detinv.results.reports.write_findings import write_findings
from detinv.runtime.devices import usable_device
from detinv.zoo.weights import weight_hash

_CONFIG = "config.yaml"
# Written first, and removed last.
_ERRORS = "errors.json"


def run(config: DictConfig, build: Build) -> None:
    """Diagnose each detector of the run, or the one that is given, and write everything to `config.out_dir`."""
    thresholds = Thresholds(config.fg_iou_thresh, min(config.fg_iou_thresh, 0.1), config.score_thresh)
    images, annotations, nodes = _asked(config)
    terminal = console()
    detectors = {name: build_detector(node).to(usable_device(config.device)) for name, node in nodes.items()}
    with replaced_folder(config) as out_dir:
        _diagnose(config, detectors, images, annotations, thresholds, out_dir, terminal)


def _diagnose(
    config: DictConfig,
    detectors: dict[str, AbstractDetector],
    images: str,
    annotations: str,
    thresholds: Thresholds,
    out_dir: Path,
    terminal: Console,
) -> None:
    found = {}
    for name, detector in detectors.items():
        # Layouts are read in the class numbers of each.
        _, pictures, annotated = load_photographs(images, annotations, detector)
        assert annotated is not None
        track = partial(tracked, terminal, what=f"diagnosing {name}")
        inverted = config.run is not None and "detector" not in config
        found[name] = diagnose(detector, pictures, annotated.layouts, annotated.crowds, thresholds, track, inverted)
    # Before anything is written: a full disk does not cost it.
    for name, diagnosis in found.items():
        _tell(terminal, diagnosis, name if len(found) > 1 else "")
    _replace(out_dir, config, {table.name for diagnosis in found.values() for table in diagnosis.tables()})
    folders = file_stems(list(found)) if len(found) > 1 else [""]
    for folder, (name, diagnosis) in zip(folders, found.items(), strict=True):
        _write(diagnosis, out_dir / folder, name, detectors[name], config)
    terminal.print(f"diagnosis: {literal(out_dir)}", soft_wrap=True)


def _replace(out_dir: Path, config: DictConfig, tables: set[str]) -> None:
    """Remove what an earlier diagnosis has left, of other detectors as well, and write the configuration.

    Args:
        tables: names of all that a diagnosis may have.
    """
    files = [*sorted(f"{name}.csv" for name in tables), "report.html", "numbers.json", _ERRORS]
    # Those of several detectors each have a folder; other commands leave a configuration in theirs.
    own = [one for one in out_dir.iterdir() if (one / _ERRORS).is_file() and not (one / _CONFIG).exists()]
    folders = own if (out_dir / _CONFIG).exists() else []
    left = [folder / file for folder in (out_dir, *folders) for file in files]
    replace_results(out_dir, config, *(str(path.relative_to(out_dir)) for path in left))
    for folder in folders:
        if not any(folder.iterdir()):
            folder.rmdir()


def _asked(config: DictConfig) -> tuple[str, str, dict[str, Any]]:
    """Return the folder of images, the annotation file, and what describes each detector, by name.

    Raises:
        ConfigError: when something is missing, or the folder is not that of a finished inversion.
    """
    images, annotations = config.images, config.annotations
    nodes: dict[str, Any] = {}
    if config.run is not None:
        folder = Path(config.run)
        missing = [name for name in (_CONFIG, "layouts.json", "images") if not (folder / name).exists()]
        if missing:
            raise ConfigError(f"run={folder}: no finished detinv invert, as it has no {missing[0]}")
        images, annotations = images or folder / "images", annotations or folder / "layouts.json"
        nodes = _detectors_of(folder / _CONFIG)
    if "detector" in config:
        nodes = {str(config.detector.name): config.detector}
    if images is None or annotations is None or not nodes:
        raise ConfigError("give the out_dir of a detinv invert, or all of images=, annotations= and detector=")
    return str(images), str(annotations), {name: _single(node) for name, node in nodes.items()}


def _single(node: Any) -> Any:
    if "members" in node:
        raise ConfigError("detector: choose one; those of a joint run are all diagnosed without this option")
    return node


def _detectors_of(path: Path) -> dict[str, Any]:
    """Return what describes the detectors of a run, by name."""
    try:
        text = path.read_text(encoding="utf-8")
        check_plain_yaml(text)
        node = (yaml.safe_load(text) or {}).get("detector")
    except (OSError, AttributeError, *YAML_ERRORS) as error:
        raise ConfigError(f"{path}: cannot be read ({yaml_problem(error)})") from error
    if not isinstance(node, dict) or "name" not in node:
        raise ConfigError(f"{path}: names no detector; give one with detector=NAME")
    check_targets(node, str(path))
    check_decisions(node, str(path))
    return dict(node["members"]) if "members" in node else {str(node["name"]): node}


def _write(diagnosis: Diagnosis, folder: Path, name: str, detector: AbstractDetector, config: DictConfig) -> None:
    about = {
        "detector": name,
        "weight_hash": weight_hash(detector),
        "score_thresh": config.score_thresh,
        "fg_iou_thresh": config.fg_iou_thresh,
    }
    findings = Findings(diagnosis.numbers(), diagnosis.tables())
    write_json(prepare_out_dir(folder) / _ERRORS, diagnosis.entries())
    write_findings(findings, folder, OmegaConf.to_yaml(config), f"What {name} misses, and why", about)


def _tell(terminal: Console, diagnosis: Diagnosis, name: str) -> None:
    if name:
        terminal.rule(literal(name))
    for table in diagnosis.tables():
        if len(table.rows) > 1:
            terminal.print(narrow_table(table))
            terminal.print()
    for advice in diagnosis.advice():
        terminal.print(literal(advice), highlight=False, soft_wrap=True)
