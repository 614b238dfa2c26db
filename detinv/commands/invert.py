"""`detinv invert`: make images that a detector reads as given layouts."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Column, Table

from detinv.commands import Build
from detinv.commands.dashboard import check_dashboard, dashboard, numbers_of
from detinv.commands.out_dir import folder_of_all
from detinv.commands.terminal import console, literal
from detinv.detectors.load import build_detector
from detinv.errors import ConfigError, OutputError
from detinv.inversion.evaluation import planted_cues
from detinv.inversion.modules.ensemble import Ensemble
from detinv.inversion.preset import Preset
from detinv.inversion.requests import check_layouts, check_options
from detinv.inversion.run import InversionInterrupted, invert
from detinv.layouts.layout import Layout
from detinv.layouts.sources import LayoutSource, layouts_for
from detinv.results.io.files import write_json
from detinv.results.reports.inversion_result import InversionResult
from detinv.results.reports.write_inversion import write_inversion
from detinv.runtime.processes import Processes, start_processes

_INTERRUPTED = 130


def run(config: DictConfig, build: Build) -> int:
    """Build detector, layouts and preset; invert, or resume; write everything to `config.out_dir`.

    Returns:
        0; 1 when an image is missing or stopped early; 130 when interrupted.
    """
    ensemble = _ensemble(config.detector, build)
    source = build(config.layout)
    layouts = layouts_for(source, ensemble)
    check_layouts(layouts, ensemble)
    preset: Preset = build(config.preset)
    trainer = _plain(config.trainer)
    check_dashboard(config)
    every = config.log_images_every_n_steps
    check_options(config.steps, config.batch_size, every, trainer, config.compile_mode, config.allow_tf32)
    if config.checkpoint_every_n_seconds < 0:
        raise ConfigError(f"checkpoint_every_n_seconds={config.checkpoint_every_n_seconds}: choose 0 or more")
    # Only now, when the input has proved to be good: a mistake leaves no folder behind.
    with start_processes(trainer) as team, folder_of_all(team, config) as out_dir:
        return _invert(config, build, team, out_dir, ensemble, source, layouts, preset, trainer)


def _invert(
    config: DictConfig,
    build: Build,
    team: Processes,
    out_dir: Path,
    ensemble: Ensemble,
    source: LayoutSource,
    layouts: list[Layout],
    preset: Preset,
    trainer: dict[str, Any],
) -> int:
    with dashboard(build(config.logger) if team.first else None, config) as board:
        interrupted = False
        try:
            result = invert(
                ensemble,
                layouts,
                preset,
                steps=config.steps,
                seed=config.seed,
                batch_size=config.batch_size,
                trainer=trainer,
                loggers=board.loggers,
                log_images_every_n_steps=config.log_images_every_n_steps,
                folder=out_dir,
                checkpoint_every_n_seconds=config.checkpoint_every_n_seconds,
                compile_mode=config.compile_mode,
                allow_tf32=config.allow_tf32,
            )
        except InversionInterrupted as stop:
            result, interrupted = stop.result, True
        if team.first:
            cues = planted_cues(source, result.layouts, result.images, result.class_names)
            result = replace(result, metrics={**result.metrics, **cues})
            _write(result, out_dir, OmegaConf.to_yaml(config), f"{config.detector.name} inverted")
            board.log({f"final/{name}": value for name, value in numbers_of(result.metrics).items()})
    if interrupted:
        return _INTERRUPTED
    return int(bool(result.missing or result.stopped))


def _write(result: InversionResult, out_dir: Path, config_yaml: str, title: str) -> None:
    """Write and print the results; where the folder cannot be written any more, write them to another one."""
    terminal = console()
    if not result.images:
        write_json(out_dir / "metrics.json", result.metrics)
    else:
        try:
            report = write_inversion(result, out_dir, title, config_yaml)
        except OutputError as error:
            rescue = Path(tempfile.mkdtemp(prefix="detinv-rescued-"))
            write_inversion(result, rescue, title, config_yaml)
            raise OutputError(f"{error}. All results were written to {rescue} instead") from error
        _show(terminal, result, report)
    for reasons in (result.missing, result.stopped):
        for layout_id, reason in reasons.items():
            terminal.print(literal(f"{layout_id}: {reason}"), highlight=False, soft_wrap=True)
    if result.missing:
        terminal.print("run the same command again to make what is missing", highlight=False)


def _ensemble(entries: DictConfig, build: Build) -> Ensemble:
    """Build the detector, or the detectors, under their registered names."""
    if "members" in entries:
        return build({key: value for key, value in _plain(entries).items() if key != "name"})
    return Ensemble({str(entries.name): build_detector(entries)})


def _plain(node: DictConfig) -> dict[str, Any]:
    values = OmegaConf.to_container(node)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def _show(terminal: Console, result: InversionResult, report: Path) -> None:
    joint = len(result.member_detections) > 1
    metrics = result.metrics
    counts = {"images": metrics["images"], "steps": metrics["steps"], "seconds": f"{metrics['seconds']:.1f}"}
    first: list[Column | str] = [Column("detector", overflow="fold", min_width=20)] if joint else [*counts]
    table = Table(*first, "AP", "AP50", "redetected", "false positives")
    for name in result.member_detections:
        prefix = f"{name}/" if joint else ""
        table.add_row(
            *([name] if joint else map(str, counts.values())),
            *(f"{metrics[prefix + key]:.1f}" for key in ("AP", "AP50")),
            f"{metrics[prefix + 'redetected']} of {metrics['objects']}",
            str(metrics[prefix + "false_positives"]),
        )
    if joint:
        # The same for all; in the table, 80 columns would have no room for them.
        terminal.print(", ".join(f"{name}: {value}" for name, value in counts.items()), highlight=False)
    terminal.print(table)
    terminal.print(literal(f"picture: {report.with_name('overview.png')}"), soft_wrap=True)
    terminal.print(literal(f"report:  {report}"), soft_wrap=True)
