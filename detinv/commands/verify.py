"""`detinv verify`: the paper's claims, checked on detectors with planted priors."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from detinv.commands import Build
from detinv.commands.terminal import console, literal
from detinv.config.printable import reason_of, suggestion
from detinv.errors import ConfigError
from detinv.results.io.files import prepare_out_dir
from detinv.results.io.resume import claim_folder
from detinv.results.io.versions import versions
from detinv.results.reports.findings import Findings, Table
from detinv.results.reports.write_findings import write_findings
from detinv.verification.claim import Claim
from detinv.verification.means import Means, Part
from detinv.verification.subjects import SUBJECTS

_FAILED = 1
_TITLE = "What the experiments find on detectors with planted priors"


def run(config: DictConfig, build: Build) -> int:
    """Check all subjects, or those asked for; 0 when every claim holds, 1 when one fails."""
    terminal = console()
    subjects = list(config.subjects) or list(SUBJECTS)
    for name in subjects:
        if name not in SUBJECTS:
            hint = suggestion(str(name), SUBJECTS)
            raise ConfigError(f"unknown subject {name!r}{hint} (there are: {', '.join(SUBJECTS)})")
    if config.batch_size < 1:
        raise ConfigError(f"batch_size={config.batch_size}: choose at least 1")
    preset = build(config.preset)
    parts: dict[str, Any] = OmegaConf.to_container(config.parts)  # type: ignore[assignment]
    try:
        sizes = {name: Part(**part) for name, part in parts.items()}
    except TypeError as error:
        raise ConfigError(f"parts: {reason_of(error)}; write parts.NAME.count=N and parts.NAME.steps=N") from error
    # Only now, when the input has proved to be good: a mistake leaves no folder behind.
    out_dir = prepare_out_dir(config.out_dir)
    claim_folder(out_dir, config)
    means = Means(
        out_dir,
        preset,
        sizes,
        seed=config.seed,
        batch_size=config.batch_size,
        say=lambda text: terminal.print(literal(text), soft_wrap=True, highlight=False, style="dim"),
    )
    started = time.perf_counter()
    claims: list[Claim] = []
    for name in subjects:
        found = SUBJECTS[name](means)
        for claim in found:
            _print(terminal, claim)
        claims += found
    report = _write(out_dir, claims, config, time.perf_counter() - started)
    failed = [claim.name for claim in claims if not claim.holds]
    verdict = f"{len(claims) - len(failed)} of {len(claims)} claims hold"
    terminal.print(verdict + (f"; these do not: {', '.join(failed)}" if failed else ""), highlight=False)
    terminal.print(f"report: {literal(report)}", soft_wrap=True)
    return _FAILED if failed else 0


def _print(terminal: Console, claim: Claim) -> None:
    style, mark = ("green", "holds") if claim.holds else ("bold red", "FAILS")
    said, figures = f"{claim.name}: {claim.statement}", f"expected {claim.expected}; measured {claim.measured}"
    terminal.print(f"[{style}]{mark}[/]  {literal(said)}", soft_wrap=True, highlight=False)
    terminal.print(f"       {literal(figures)}", soft_wrap=True, highlight=False)


def _write(out_dir: Path, claims: list[Claim], config: DictConfig, seconds: float) -> Path:
    columns = ("claim", "statement", "expected", "measured", "verdict")
    rows = [(c.name, c.statement, c.expected, c.measured, "holds" if c.holds else "fails") for c in claims]
    findings = Findings(
        {"claims": [asdict(claim) for claim in claims], "all_hold": all(claim.holds for claim in claims)},
        [Table("claims", "Claims", columns, rows)],
    )
    about = {"seconds": round(seconds, 1), "seed": config.seed, "versions": versions()}
    return write_findings(findings, out_dir, OmegaConf.to_yaml(config), _TITLE, about)
