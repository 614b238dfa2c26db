"""The folder that an experiment leaves behind."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from detinv.results.io.files import encode_png, prepare_out_dir, write_csv, write_json, write_png, write_text
from detinv.results.reports.findings import Cell, Figure, Findings, Table
from detinv.results.reports.html import render
from detinv.results.reports.page_table import NO_VALUE, PageCell, PageTable, flat_names


def write_findings(
    findings: Findings, out_dir: str | Path, config_yaml: str, title: str, about: Mapping[str, object]
) -> Path:
    """Write `<table>.csv`, `<figure>.png`, `report.html` and, last of all, `numbers.json` into `out_dir`.

    Args:
        findings: the outcome of an experiment.
        out_dir: folder, created where it does not exist.
        config_yaml: the complete configuration of the run, for the report.
        title: heading of the report.
        about: what the numbers depend on (versions, weights, seed, seconds); stored with them.

    Returns:
        The path of `report.html`.

    Raises:
        OutputError: naming the path that cannot be written.
    """
    folder = prepare_out_dir(out_dir)
    for table in findings.tables:
        rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
        write_csv(folder / f"{table.name}.csv", rows, table.columns)
    for figure in findings.figures:
        write_png(folder / f"{figure.name}.png", figure.picture)
    write_text(folder / "report.html", render_findings(findings, config_yaml, title, about))
    write_json(
        folder / "numbers.json",
        {"numbers": findings.numbers, "decided": findings.decided, "about": about},
    )
    return folder / "report.html"


def render_findings(findings: Findings, config_yaml: str, title: str, about: Mapping[str, object]) -> str:
    """Return a self-contained page: tables, embedded figures, decisions, configuration and versions; all escaped.

    Args:
        findings: the outcome of an experiment.
        config_yaml, title, about: see `write_findings`.
    """
    return render(
        "findings.html",
        title=title,
        tables=[_TableSection(table.title, table.note, _page_table(table)) for table in findings.tables],
        figures=[_FigureSection.of(figure) for figure in findings.figures],
        decided=findings.decided,
        config_lines=config_yaml.split("\n") if config_yaml else [],
        versions=flat_names(about),
    )


@dataclass(frozen=True)
class _TableSection:
    title: str
    note: str
    table: PageTable


@dataclass(frozen=True)
class _FigureSection:
    title: str
    note: str
    png: str

    @classmethod
    def of(cls, figure: Figure) -> "_FigureSection":
        return cls(figure.title, figure.note, base64.b64encode(encode_png(figure.picture)).decode())


def _page_table(table: Table) -> PageTable:
    """Return the table with every column of numbers flush right."""
    kinds = [
        "number" if all(row[k] is None or isinstance(row[k], int | float) for row in table.rows) else ""
        for k in range(len(table.columns))
    ]
    headings = [PageCell(column, kind) for column, kind in zip(table.columns, kinds, strict=True)]
    rows = [
        [PageCell(_text(cell, table.digits), kind) for cell, kind in zip(row, kinds, strict=True)] for row in table.rows
    ]
    return PageTable(headings, rows)


def _text(cell: Cell, digits: int) -> str:
    if cell is None or (isinstance(cell, float) and cell != cell):
        return NO_VALUE
    return f"{cell:.{digits}f}" if isinstance(cell, float) else str(cell)
