"""What training programs put around the weights of a network: entries of a checkpoint, and prefixes of all names."""

from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from detinv.errors import DetectorError
from detinv.inputs.notes import say_once
from detinv.inputs.printable import quoted

ENTRIES = ("model", "state_dict", "model_state", "model_state_dict", "ema", "model_ema", "ema_state_dict", "module")
"""Names under which checkpoints keep a state dict; where there are several, the first of these is read.

One under another name is read where it is the only one.
"""

_DEEPEST = 4
# What `torch.compile` puts into the names of everything inside a module.
_COMPILED = "_orig_mod."
# Share of a network's names that a file must have under one prefix. Some names are of older versions.
_MOST = 0.8


def state_of(content: Any, path: Path) -> dict[str, Tensor] | None:
    """Return the tensors by name that a checkpoint holds; None where it holds no state dict.

    Args:
        content: what `torch.load` returned: a state dict, a dictionary with one, see `ENTRIES`, or a network.
        path: of the file, for what is said about it.

    Raises:
        DetectorError: when there are several, under names that do not tell which one is meant.
    """
    for _ in range(_DEEPEST):
        if isinstance(content, nn.Module):
            content = content.state_dict()
        if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
            return None
        if _is_state(content):
            return {key: torch.as_tensor(value) for key, value in content.items()}
        there = [entry for entry in ENTRIES if isinstance(content.get(entry), Mapping | nn.Module)]
        if not there:
            there = [key for key, value in content.items() if value and _is_state(value)]
            if there[1:]:
                first, second = (quoted(key) for key in there[:2])
                raise DetectorError(
                    f"{path}: has weights under {first} and under {second}; save those that you mean alone"
                )
        if not there:
            return None
        if there[1:]:
            say_once(f"{path}: holds {' and '.join(there)}; {there[0]} is read")
        content = content[there[0]]
    return None


def _is_state(value: Any) -> bool:
    """Tell whether a value holds tensors by name, and nothing else."""
    return isinstance(value, Mapping) and all(
        isinstance(key, str) and isinstance(one, Tensor | np.ndarray) for key, one in value.items()
    )


def renamed_for(given: Mapping[str, Tensor], expected: Collection[str], path: str | Path) -> dict[str, Tensor]:
    """Return tensors by a network's own names, where all names in the file differ from them by one prefix.

    Lightning adds the name of an attribute (`model.`), wrappers for several processes or averages add `module.`, and
    `torch.compile` adds `_orig_mod.` at any depth. Tensors beside those with the prefix belong to something else that
    was trained along; they are left out, which is said.

    Args:
        given: tensors by the names in the file.
        expected: names in the network.
        path: of the file, for messages.

    Raises:
        DetectorError: when the file has two sets of weights, under two prefixes.
    """
    named = {key.replace(_COMPILED, ""): value for key, value in given.items()}
    uses: Counter[str] = Counter()
    for key in named:
        ends = [-1, *(place for place, character in enumerate(key) if character == ".")]
        uses.update(key[: end + 1] for end in ends if key[end + 1 :] in expected)
    enough = _MOST * len(expected)
    if uses[""] >= enough:
        return named
    # A network that begins all its names in the same way may have been saved from within.
    outer = {key.partition(".")[0] + "." for key in expected}
    if len(outer) == 1:
        (prefix,) = outer
        if sum(prefix + key in expected for key in named) >= enough:
            return {prefix + key: value for key, value in named.items()}
    most = max(uses.values(), default=0)
    if most < enough:
        return named
    prefixes = sorted(prefix for prefix, number in uses.items() if number == most)
    if prefixes[1:]:
        first, second = (quoted(prefix) for prefix in prefixes[:2])
        raise DetectorError(
            f"{path}: has weights for the detector under {first} and under {second}; save those that you mean alone"
        )
    (prefix,) = prefixes
    others = [key for key in named if not key.startswith(prefix)]
    if others:
        say_once(
            f"{path}: of its {len(named)} tensors, the {len(named) - len(others)} whose names begin with "
            f"{quoted(prefix)} are read; others, such as {quoted(others[0])}, are not the detector's"
        )
    return {key.removeprefix(prefix): value for key, value in named.items() if key.startswith(prefix)}
