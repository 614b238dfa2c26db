"""Store what `detinv verify` measured, for the tests: one file for each run.

detinv verify --quick seed=4 out_dir=runs/4
python tests/verification/collect_measurements.py runs/4
"""

import json
import sys
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

MEASUREMENTS = Path(__file__).parent / "measurements"


def rounded(value: Any) -> Any:
    """Round all numbers to four digits."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list) else value


def collect(run: Path) -> Path:
    """Write the measurements of all groups of claims of a finished run into one file."""
    seed = OmegaConf.load(run / "config.yaml").seed
    groups = {file.stem: json.loads(file.read_text()) for file in sorted((run / "measurements").glob("*.json"))}
    path = MEASUREMENTS / f"seed_{seed}.json"
    path.write_text(json.dumps(rounded(groups), separators=(",", ":")) + "\n")
    return path


if __name__ == "__main__":
    for folder in sys.argv[1:]:
        print(collect(Path(folder)))
