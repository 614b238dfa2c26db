"""The tensors in what a module returns: a tensor, or mappings and sequences of such, nested at will."""

from collections.abc import Callable, Mapping
from copy import copy
from typing import Any

from torch import Tensor


def float_tensors(value: Any, key: str = "") -> dict[str, Tensor]:
    """Return the floating-point tensors in `value` by key or number; nested ones have their keys joined by dots.

    A single tensor has the key `key`.
    """
    if isinstance(value, Tensor):
        return {key: value} if value.is_floating_point() else {}
    found: dict[str, Tensor] = {}
    for name, entry in _pairs(value):
        found |= float_tensors(entry, f"{key}.{name}" if key else str(name))
    return found


def map_float_tensors(value: Any, change: Callable[[str, Tensor], Tensor], key: str = "") -> Any:
    """Return the same structure with each floating-point tensor replaced by `change(key, tensor)`.

    Keys are those of `float_tensors`. Objects of other types are left as they are.
    """
    if isinstance(value, Tensor):
        return change(key, value) if value.is_floating_point() else value
    changed = {
        name: map_float_tensors(entry, change, f"{key}.{name}" if key else str(name)) for name, entry in _pairs(value)
    }
    if isinstance(value, Mapping):
        # A copy keeps the type, such as an ordered dict or the outputs of transformers.
        result: Any = copy(value)
        for name, entry in changed.items():
            result[name] = entry
        return result
    if isinstance(value, list):
        return list(changed.values())
    if isinstance(value, tuple):
        return type(value)(*changed.values()) if hasattr(value, "_fields") else tuple(changed.values())
    return value


def _pairs(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, list | tuple) else []
