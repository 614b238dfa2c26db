"""`detinv run`: one of the paper's experiments, from its configuration to its report."""

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from detinv.commands import Build
from detinv.commands.dashboard import check_dashboard, dashboard, numbers_of
from detinv.commands.out_dir import folder_of_all
from detinv.commands.terminal import console, literal, terminal_table
from detinv.config.help import experiments
from detinv.errors import ConfigError
from detinv.experiments.common.base import AbstractExperiment
from detinv.experiments.common.setup import ExperimentSetup
from detinv.inversion.requests import check_options
from detinv.results.io.versions import versions
from detinv.results.reports.findings import Findings
from detinv.results.reports.write_findings import write_findings
from detinv.runtime.processes import Processes, start_processes


def run(config: DictConfig, build: Build) -> None:
    """Run the configured experiment; write everything to `config.out_dir`."""
    if config.get("experiment") is None:
        names = ", ".join(experiment.name for experiment in experiments() if experiment.for_run)
        raise ConfigError(f"detinv run needs an experiment: detinv run NAME (there are: {names})")
    values: dict[str, Any] = OmegaConf.to_container(config)  # type: ignore[assignment]
    check_dashboard(config)
    check_options(config.steps, config.batch_size, 1, values["trainer"], config.compile_mode)
    for entry in values["detectors"]:
        if not isinstance(entry, str | dict):
            raise ConfigError(f"detectors: {entry!r} is no detector; write a name, a path, or {{name: NAME, ...}}")
    with start_processes(values["trainer"]) as processes, ExitStack() as until_done:
        _run(config, build, values, processes, until_done)


def _run(config: DictConfig, build: Build, values: dict[str, Any], processes: Processes, until_done: ExitStack) -> None:
    # The other processes print nothing.
    terminal = console(quiet=not processes.first)
    experiment = build(config.experiment)
    if not isinstance(experiment, AbstractExperiment):
        raise ConfigError(f"experiment: {config.experiment.get('_target_')} is not an experiment")
    setup = ExperimentSetup(
        Path(config.out_dir),
        values["detectors"],
        build(config.layout),
        build(config.preset),
        steps=config.steps,
        batch_size=config.batch_size,
        seed=config.seed,
        trainer=values["trainer"],
        compile_mode=config.compile_mode,
        images=config.images,
        processes=processes,
        log=lambda text: terminal.print(literal(text), soft_wrap=True, highlight=False, style="dim"),
    )
    if not setup.labels:
        raise ConfigError("detectors=[]: name at least one detector")
    for label in setup.labels:
        setup.detector(label)
    experiment.check(setup)
    # Only now, when the input has proved to be valid: a mistake leaves no folder behind.
    setup.out_dir = until_done.enter_context(folder_of_all(processes, config))
    started = time.perf_counter()
    with dashboard(build(config.logger) if processes.first else None, config) as board:
        findings = experiment.run(setup)
        about = {
            "seconds": round(time.perf_counter() - started, 1),
            "seed": config.seed,
            "weight_hashes": setup.weight_hashes(),
            "versions": versions(),
        }
        if not processes.first:
            return
        report = write_findings(findings, setup.out_dir, OmegaConf.to_yaml(config), experiment.title, about)
        board.log(numbers_of(findings.numbers))
        for figure in findings.figures:
            board.show(figure.name, figure.picture)
    _show(terminal, findings, report)


def _show(terminal: Console, findings: Findings, report: Path) -> None:
    for table in findings.tables:
        shown = terminal_table(table, terminal.width)
        if shown is None:
            terminal.print(literal(f"{table.title}: {len(table.rows)} rows in {table.name}.csv"), soft_wrap=True)
        else:
            terminal.print(shown)
    for figure in findings.figures:
        terminal.print(literal(f"figure: {report.with_name(figure.name)}.png"), soft_wrap=True)
    terminal.print(literal(f"report: {report}"), soft_wrap=True)
