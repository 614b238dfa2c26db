"""One file and one table from the figures that `experiments/gpu_report.sh` has measured."""

import json
import sys
from pathlib import Path
from typing import Any

from detinv.results.io.files import write_json, write_text

_STEP_COLUMNS = "| run | detector | batch | step | step / bare | image steps / s | idle | peak memory |"


def collect(folder: Path) -> dict[str, Any]:
    """Read every `bench_*.json`, `metrics.json` and `numbers.json` below `folder`, by the name of its run."""
    files = [*folder.glob("*/bench_*.json"), *folder.glob("*/metrics.json"), *folder.glob("*/numbers.json")]
    return {file.parent.name: json.loads(file.read_text(encoding="utf-8")) for file in sorted(files)}


def table(runs: dict[str, Any]) -> str:
    """Format the steps that were measured as a table in Markdown."""
    lines = [_STEP_COLUMNS, "|---" * _STEP_COLUMNS.count(" | ") + "|---|"]
    for name, run in runs.items():
        if run.get("benchmark") != "step":
            continue
        for one in run["results"]:
            median = one["step_to_unmodified"]
            cells = (
                name,
                one["detector"],
                one["batch_size"],
                f"{1000 * one['seconds']['step']:.1f} ms",
                f"{median['median']:.2f} ({median['low']:.2f} to {median['high']:.2f})",
                f"{one['image_steps_per_second']:.0f}",
                f"{100 * one['idle_share']:.0f} %" if one.get("idle_share") is not None else "",
                f"{one['peak_bytes'] / 2**30:.1f} GB" if one.get("peak_bytes") else "",
            )
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def main(folder: str) -> None:
    """Write `gpu_report.json` and `gpu_report.md` into `folder`, and print the table."""
    runs = collect(Path(folder))
    if not runs:
        raise SystemExit(f"{folder}: nothing has been measured there")
    write_json(Path(folder) / "gpu_report.json", runs)
    write_text(Path(folder) / "gpu_report.md", table(runs))
    print(table(runs))


if __name__ == "__main__":
    main(sys.argv[1])
