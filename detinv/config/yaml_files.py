"""YAML of detinv's own files, read by libyaml where PyYAML has it: a command reads dozens, and Python takes ten times
as long.
"""

from pathlib import Path
from typing import Any

import yaml

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(path: Path) -> Any:
    """Return the content of a file; an empty dictionary where it is empty."""
    return yaml.load(path.read_text(encoding="utf-8"), _LOADER) or {}


def yaml_nodes(text: str) -> yaml.Node | None:
    """Return the tree of what a text holds, with the line of each value; None for an empty text."""
    return yaml.compose(text, _LOADER)
