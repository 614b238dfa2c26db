"""What a job of a sweep is made from, so that one that has ended is not taken for one of other inputs."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from detinv.config.folders import FILE_ENDINGS
from detinv.inputs.fingerprint import file_fingerprint, settings_hash
from detinv.inputs.own_code import own_code
from detinv.inputs.path_modules import as_written
from detinv.inputs.plain_yaml import YAML_ERRORS, check_plain_yaml

IGNORED = ("out_dir", "logger", "trust_config")
"""Options that do not make a job a different one: where it lies, where it is logged, whether its files are trusted."""
CONFIGURATION = "the configuration"
"""The name of the options among a job's inputs; all others are paths."""


def inputs_of(config: DictConfig, known: dict[str, str | None], results: Path) -> dict[str, str]:
    """Return hashes of a job's options, of every file and folder that they name, and of the user's own code.

    Args:
        config: the complete configuration of the job.
        known: hashes by path, those found by earlier calls; hundreds of jobs may name the same weights.
        results: folder of the sweep, which may have the name of a detector, or lie among photographs.

    Returns:
        Hashes by path as it is written, by the dotted name of what is not installed, and by `CONFIGURATION`.
    """
    values: Any = OmegaConf.to_container(config, resolve=True)
    values = {key: value for key, value in values.items() if key not in IGNORED}
    found = {CONFIGURATION: settings_hash(values)}
    texts = set(_texts(values))
    # Files such as the registrations of one's own detectors name files themselves.
    for path in [text for text in texts if text.endswith(FILE_ENDINGS)]:
        texts.update(_texts(_yaml(Path(path))))
    for text in sorted(texts - {""}):
        if text not in known:
            known[text] = file_fingerprint(text, results)
        fingerprint = known[text]
        if fingerprint is not None:
            found[text] = fingerprint
        code = own_code(text.rpartition(".")[0])
        if code is not None:
            found[as_written(text)] = code
    return found


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(item)


def _yaml(path: Path) -> Any:
    """Read a file's values; None for one that is not there, or that its command will refuse."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        check_plain_yaml(text)
        return yaml.safe_load(text)
    except (OSError, *YAML_ERRORS):
        return None
