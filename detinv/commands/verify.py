"""`detinv verify`: the paper's claims, on detectors with planted priors or on those of photographs."""

import json
import time
from collections.abc import Mapping
from contextlib import ExitStack
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
from detinv.results.io.resume import claimed_folder
from detinv.results.io.versions import versions
from detinv.results.reports.findings import Findings, Table
from detinv.results.reports.write_findings import write_findings
from detinv.verification.claim import Claim
from detinv.verification.evidence import Verdict
from detinv.verification.groups import GROUPS, ClaimGroup
from detinv.verification.real.groups import REAL_GROUPS
from detinv.verification.setup import SampleSize, VerificationSetup

_NOT_ALL_HOLD = 1
_TITLE = "What the experiments find on detectors with planted priors"
_REAL_TITLE = "What the paper says, on detectors trained on COCO"
_NEEDED = "needs photographs and their annotations: give annotations=PATH and images=DIR"
_STYLES = {Verdict.HOLDS: "green", Verdict.FAILS: "bold red", Verdict.UNDECIDED: "bold yellow"}


def run(config: DictConfig, build: Build) -> int:
    """Check all groups of claims, or those asked for.

    Returns:
        0 when every claim holds, and 1 otherwise. On real detectors the claims are questions, and a sentence that does
        not hold is an answer: there 0 unless a control fails.
    """
    with ExitStack() as until_done:
        return _run(config, build, until_done)


def _run(config: DictConfig, build: Build, until_done: ExitStack) -> int:
    terminal = console()
    groups, skipped = _chosen(config)
    if config.batch_size < 1:
        raise ConfigError(f"batch_size={config.batch_size}: choose at least 1")
    preset = build(config.preset)
    sizes = _sample_sizes(OmegaConf.to_container(config.sample_sizes))  # type: ignore[arg-type]
    # Only now that the input has proved good, so that a mistake leaves no folder behind.
    out_dir = until_done.enter_context(claimed_folder(config))
    setup = VerificationSetup(
        out_dir,
        preset,
        sizes,
        seed=config.seed,
        batch_size=config.batch_size,
        annotations=config.annotations,
        images=config.images,
        say=lambda text: terminal.print(literal(text), soft_wrap=True, highlight=False, style="dim"),
    )
    started = time.perf_counter()
    claims: list[Claim] = []
    for name, group in groups.items():
        path = prepare_out_dir(out_dir / "measurements") / f"{name}.json"
        write_json(path, group.measure(setup))
        # From the file, so that it holds all that the verdicts rest on.
        found = group.decide(json.loads(path.read_text(encoding="utf-8")))
        for claim in found:
            _print(terminal, claim)
        claims += found
    report = _write(out_dir, claims, config, time.perf_counter() - started)
    for name in skipped:
        terminal.print(f"skipped  {name}: {_NEEDED}", soft_wrap=True, highlight=False)
    terminal.print(literal(summary(claims)), highlight=False, soft_wrap=True)
    terminal.print(f"report: {literal(report)}", soft_wrap=True)
    if config.real:
        return _NOT_ALL_HOLD if any(one.is_control and one.verdict is Verdict.FAILS for one in claims) else 0
    return 0 if all(claim.holds for claim in claims) else _NOT_ALL_HOLD


def _chosen(config: DictConfig) -> tuple[dict[str, ClaimGroup], list[str]]:
    """Return the groups to be measured, by name, and the names of those that are skipped for want of photographs.

    Raises:
        ConfigError: for an unknown group; for one asked for that lacks its photographs; for photographs that no group
            of these looks at, or without their annotations.
    """
    table = REAL_GROUPS if config.real else GROUPS
    for name in config.claims:
        if name not in table:
            hint = suggestion(str(name), table)
            raise ConfigError(f"unknown group of claims {name!r}{hint} (there are: {', '.join(table)})")
    given = [name for name in ("annotations", "images") if config[name] is not None]
    if given and not config.real:
        raise ConfigError(f"{given[0]}={config[given[0]]}: only real=true looks at photographs")
    if len(given) == 1:
        raise ConfigError(f"{given[0]}={config[given[0]]}: {_NEEDED}")
    chosen = {name: table[name] for name in list(config.claims) or list(table)}
    lacking = [name for name, group in chosen.items() if group.photographs and not given]
    if lacking and config.claims:
        raise ConfigError(f"claims: {lacking[0]} {_NEEDED}")
    return {name: group for name, group in chosen.items() if name not in lacking}, lacking


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
    return write_findings(findings, out_dir, OmegaConf.to_yaml(config), _REAL_TITLE if config.real else _TITLE, about)
