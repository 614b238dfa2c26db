"""The command that repeats a training, for its model card and the header of its weights."""

import re
import shlex
from typing import Any

from omegaconf import DictConfig

from detinv.config.composition.compose import composed_values
from detinv.config.composition.kinds import flat_values
from detinv.config.folders import choices, config_dir
from detinv.config.words import quoted_override

# Options that decide where and how fast a training runs, but not what is learnt.
_ELSEWHERE = ("out_dir", "accelerator", "workers", "steps_per_epoch", "trust_config", "experiment")
# Where the data lie on this machine says nothing to others.
_ROOT = "data.root"
_PLAIN = re.compile(r"[A-Za-z_][\w./-]*")


def repeating_command(config: DictConfig) -> str:
    """Return the shortest `detinv train` of this configuration: a model, and all options that differ from its own.

    Args:
        config: of a training, complete.
    """
    models = choices(config_dir(), "model")
    # A detector may have been given a name of its own.
    candidates = [config.detector.name] if config.detector.name in models else models
    return min((_command(config, model) for model in candidates), key=len)


def _command(config: DictConfig, model: str) -> str:
    own = composed_values("train", [f"model={model}"])
    words = [f"model={model}"]
    for key, value in flat_values(config).items():
        if key == _ROOT:
            words.append(f"{key}=PATH")
        elif key not in _ELSEWHERE and not isinstance(value, dict) and value != own.get(key):
            words.append(_override(key, value))
    return shlex.join(["detinv", "train", *words])


def _override(key: str, value: Any) -> str:
    if value is None or isinstance(value, bool):
        return f"{key}={'null' if value is None else str(value).lower()}"
    if isinstance(value, str):
        return f"{key}={value}" if _PLAIN.fullmatch(value) else quoted_override(key, value)
    if isinstance(value, list):
        return f"{key}=[{','.join(_override('', one).removeprefix('=') for one in value)}]"
    return f"{key}={value}"
