"""`detinv check`: test the adapter of a detector."""

from dataclasses import asdict

from omegaconf import DictConfig, OmegaConf
from rich.table import Table
from torch import Tensor

from detinv.checks.adapter import Verdict, check_adapter
from detinv.checks.statistics import other_statistics
from detinv.commands import Build
from detinv.commands.photographs import load_photographs
from detinv.commands.terminal import console, literal
from detinv.detectors.base import AbstractDetector
from detinv.detectors.load import build_detector
from detinv.errors import ConfigError
from detinv.layouts.layout import Layout
from detinv.results.io.files import write_json
from detinv.results.io.resume import replace_results, replaced_folder
from detinv.runtime.devices import usable_device
from detinv.zoo.weights import weight_hash

_WORDS = {True: "holds", False: "FAILS", None: "not shown"}
_STYLES = {True: "green", False: "bold red", None: "yellow"}


def run(config: DictConfig, build: Build) -> int:
    """Test `config.detector`, print the verdicts and write them to `config.out_dir`; return 1 if a claim fails."""
    sizes = _sizes(config.image_sizes)
    if config.steps < 1:
        raise ConfigError(f"steps={config.steps}: choose at least 1")
    detector = build_detector(config.detector).to(usable_device(config.device))
    images, truth = _photographs(config, detector)
    preset = build(config.preset)
    terminal = console()
    with replaced_folder(config) as out_dir:
        verdicts = check_adapter(
            detector, preset, sizes, steps=config.steps, seed=config.seed, images=images, truth=truth
        )
        # Before anything is written: a full disk does not cost it.
        terminal.print(_table(config.detector.name, verdicts))
        if note := other_statistics(detector, images):
            terminal.print(f"note: {literal(note)}", soft_wrap=True)
        found = {"detector": config.detector.name, "weight_hash": weight_hash(detector)}
        replace_results(out_dir, config, "check.json")
        write_json(out_dir / "check.json", found | {"verdicts": [asdict(verdict) for verdict in verdicts]})
    terminal.print(f"verdicts: {literal(out_dir / 'check.json')}", soft_wrap=True)
    return int(any(verdict.holds is False for verdict in verdicts))


def _photographs(config: DictConfig, detector: AbstractDetector) -> tuple[list[Tensor], list[Layout]]:
    """Return the images that are given, and their objects where they are annotated."""
    if config.images is None:
        if config.annotations is not None:
            raise ConfigError("annotations: give the images as well, with images=FOLDER")
        return [], []
    annotations = None if config.annotations is None else str(config.annotations)
    _, images, annotated = load_photographs(str(config.images), annotations, detector)
    return images, [] if annotated is None else annotated.layouts


def _sizes(given: object) -> list[tuple[int, int]]:
    values = OmegaConf.to_container(given) if OmegaConf.is_config(given) else given
    if not isinstance(values, list) or not values:
        raise ConfigError(f"image_sizes={values}: give a list of sizes, such as [[480,640]]")
    sizes = []
    for entry in values:
        if not isinstance(entry, list) or len(entry) != 2 or not all(isinstance(v, int) and v > 0 for v in entry):
            raise ConfigError(f"image_sizes: {entry} is no size; write [height,width], such as [480,640]")
        sizes.append((entry[0], entry[1]))
    return sizes


def _table(name: str, verdicts: list[Verdict]) -> Table:
    table = Table(literal(name), "", "measured")
    for verdict in verdicts:
        word = f"[{_STYLES[verdict.holds]}]{_WORDS[verdict.holds]}[/]"
        advice = f"\n-> {literal(verdict.advice)}" if verdict.advice else ""
        table.add_row(literal(verdict.claim), word, f"{literal(verdict.measured)}{advice}")
    return table
