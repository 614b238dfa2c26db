"""The folder that an experiment leaves behind."""

import base64
from collections.abc import Mapping
from pathlib import Path

from detinv.results.io.files import encode_png, prepare_out_dir, write_csv, write_json, write_png, write_text
from detinv.results.reports.escape import escaped, escaped_lines
from detinv.results.reports.findings import Cell, Figure, Findings, Table
from detinv.results.reports.page import page


def write_findings(
    findings: Findings, out_dir: str | Path, config_yaml: str, title: str, about: Mapping[str, object]
) -> Path:
    """Write `<table>.csv`, `<figure>.png`, `report.html` and, last of all, `numbers.json` into `out_dir`.

    Args:
        config_yaml: the complete configuration of the run, for the report.
        title: heading of the report.
        about: what the numbers depend on (versions, weights, seed, seconds); stored beside them.

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
    """A self-contained page: tables, figures (embedded), what was decided, configuration and versions; all escaped."""
    decided = "".join(f"<tr><td>{escaped(k)}</td><td>{escaped(v)}</td></tr>" for k, v in findings.decided.items())
    made_with = "".join(f"<tr><td>{escaped(k)}</td><td>{escaped(str(v))}</td></tr>" for k, v in _flat(about).items())
    sections = [
        f"<header><h1>{escaped(title)}</h1></header>",
        *(_table(table) for table in findings.tables),
        *(_figure(figure) for figure in findings.figures),
        "<h2>How it was made</h2>",
        f'<div class="scroll"><table>{decided}</table></div>' if decided else "",
        f"<details><summary>Configuration</summary><pre>{escaped_lines(config_yaml)}</pre></details>",
        f'<details><summary>Versions</summary><div class="scroll"><table>{made_with}</table></div></details>',
    ]
    return page(title, sections)


def _table(table: Table) -> str:
    kinds = [
        "number" if all(row[k] is None or isinstance(row[k], int | float) for row in table.rows) else ""
        for k in range(len(table.columns))
    ]
    head = "".join(f'<th class="{k}">{escaped(c)}</th>' for c, k in zip(table.columns, kinds, strict=True))
    body = "".join(
        "<tr>"
        + "".join(f'<td class="{k}">{_shown(cell, table.digits)}</td>' for cell, k in zip(row, kinds, strict=True))
        + "</tr>"
        for row in table.rows
    )
    note = f'<p class="faint">{escaped(table.note)}</p>' if table.note else ""
    return (
        f'<h2>{escaped(table.title)}</h2>{note}<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _figure(figure: Figure) -> str:
    data = base64.b64encode(encode_png(figure.picture)).decode()
    note = f'<p class="faint">{escaped(figure.note)}</p>' if figure.note else ""
    return (
        f'<h2>{escaped(figure.title)}</h2>{note}<div class="scroll">'
        f'<img class="finding" alt="{escaped(figure.title)}" src="data:image/png;base64,{data}"></div>'
    )


def _shown(cell: Cell, digits: int) -> str:
    if cell is None or (isinstance(cell, float) and cell != cell):
        return "&ndash;"
    if isinstance(cell, float):
        return f"{cell:.{digits}f}"
    return escaped(str(cell))


def _flat(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key} ") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
