"""`detinv verify`: the paper's claims, checked on detectors with planted priors."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from detinv.commands import Build
from detinv.commands.terminal import console, literal
from detinv.errors import ConfigError
from detinv.inputs.printable import reason_of, suggestion
from detinv.results.io.files import prepare_out_dir, write_json
from detinv.results.io.resume import claim_folder
from detinv.results.io.versions import versions
from detinv.results.reports.findings import Findings, Table
from detinv.results.reports.write_findings import write_findings
from detinv.verification.claim import Claim
from detinv.verification.evidence import Verdict
from detinv.verification.groups import GROUPS
from detinv.verification.setup import SampleSize, VerificationSetup

_NOT_ALL_HOLD = 1
_TITLE = "What the experiments find on detectors with planted priors"
_STYLES = {Verdict.HOLDS: "green", Verdict.FAILS: "bold red", Verdict.UNDECIDED: "bold yellow"}


def run(config: DictConfig, build: Build) -> int:
    """Check all groups of claims, or those asked for; return 0 when every claim holds, and 1 otherwise."""
    terminal = console()
    names = list(config.claims) or list(GROUPS)
    for name in names:
        if name not in GROUPS:
            hint = suggestion(str(name), GROUPS)
            raise ConfigError(f"unknown group of claims {name!r}{hint} (there are: {', '.join(GROUPS)})")
    if config.batch_size < 1:
        raise ConfigError(f"batch_size={config.batch_size}: choose at least 1")
    preset = build(config.preset)
    sizes = _sample_sizes(OmegaConf.to_container(config.sample_sizes))  # type: ignore[arg-type]
    # Only now that the input has proved good, so that a mistake leaves no folder behind.
    out_dir = prepare_out_dir(config.out_dir)
    claim_folder(out_dir, config)
    setup = VerificationSetup(
        out_dir,
        preset,
        sizes,
        seed=config.seed,
        batch_size=config.batch_size,
        say=lambda text: terminal.print(literal(text), soft_wrap=True, highlight=False, style="dim"),
    )
    started = time.perf_counter()
    claims: list[Claim] = []
    for name in names:
        path = prepare_out_dir(out_dir / "measurements") / f"{name}.json"
        write_json(path, GROUPS[name].measure(setup))
        # From the file, so that it holds all that the verdicts rest on.
        found = GROUPS[name].decide(json.loads(path.read_text(encoding="utf-8")))
        for claim in found:
            _print(terminal, claim)
        claims += found
    report = _write(out_dir, claims, config, time.perf_counter() - started)
    terminal.print(literal(summary(claims)), highlight=False, soft_wrap=True)
    terminal.print(f"report: {literal(report)}", soft_wrap=True)
    return 0 if all(claim.holds for claim in claims) else _NOT_ALL_HOLD


def summary(claims: list[Claim]) -> str:
    """Return how many claims hold, and which ones do not, in a line."""
    texts = [f"{sum(claim.holds for claim in claims)} of {len(claims)} claims hold"]
    for verdict, text in ((Verdict.FAILS, "these fail"), (Verdict.UNDECIDED, "undecided, for lack of images")):
        names = [claim.name for claim in claims if claim.verdict is verdict]
        if names:
            texts.append(f"{text}: {', '.join(names)}")
    return "; ".join(texts)


def _sample_sizes(entries: Mapping[str, Any]) -> dict[str, SampleSize]:
    sizes = {}
    for name, entry in entries.items():
        try:
            sizes[name] = SampleSize(**entry)
        except ConfigError as error:
            raise ConfigError(f"sample_sizes.{name}.{error}") from error
        except TypeError as error:
            option = f"sample_sizes.{name}"
            raise ConfigError(f"{option}: {reason_of(error)}; write {option}.count=N and {option}.steps=N") from error
    return sizes


def _print(terminal: Console, claim: Claim) -> None:
    style, mark = _STYLES[claim.verdict], claim.verdict.value if claim.holds else claim.verdict.value.upper()
    lines = (
        f"expected {claim.expected}",
        f"measured {claim.measured}, n = {claim.n} ({claim.sensitivity})",
    )
    terminal.print(
        f"[{style}]{mark}[/]  {literal(claim.name)}: {literal(claim.statement)}", soft_wrap=True, highlight=False
    )
    for line in lines:
        terminal.print(f"       {literal(line)}", soft_wrap=True, highlight=False)


def _write(out_dir: Path, claims: list[Claim], config: DictConfig, seconds: float) -> Path:
    columns = ("claim", "statement", "expected", "measured", "n", "verdict", "sensitivity")
    rows = [(c.name, c.statement, c.expected, c.measured, c.n, c.verdict.value, c.sensitivity) for c in claims]
    findings = Findings(
        {"claims": [asdict(claim) for claim in claims], "all_hold": all(claim.holds for claim in claims)},
        [Table("claims", "Claims", columns, rows)],
    )
    about = {"seconds": round(seconds, 1), "seed": config.seed, "versions": versions()}
    return write_findings(findings, out_dir, OmegaConf.to_yaml(config), _TITLE, about)
