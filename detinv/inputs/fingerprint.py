"""Short hashes of values and files, by which a result is recognised as made from the same inputs."""

import hashlib
import inspect
import types
from collections.abc import Mapping
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from detinv.errors import ConfigError
from detinv.inputs.own_code import own_code
from detinv.inputs.path_modules import as_written
from detinv.inputs.program_code import code_parts, of_program, program_code

LENGTH = 16
"""Hexadecimal digits of a hash."""
# What Windows leaves in a folder that it has shown.
_OF_VIEWERS = ("Thumbs.db", "desktop.ini")
_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(...), range, torch.dtype, torch.device)
# Hooks are numbered in the order in which a process registers them.
_HOOKS = frozenset(name for name in vars(nn.Module()) if "hook" in name)


def settings_hash(settings: object) -> str:
    """Hash all that pickling would keep of `settings`, a preset or a world for instance, private attributes included.

    A part with values that do not matter, such as a cache, leaves them out of its `__getstate__`. Cached properties do
    not count. Functions and classes count by their names, and where they are not installed by the code of their module;
    those of the program itself by their own code, see `program_code`; lambdas and inner functions by their code and the
    values they enclose.

    Raises:
        ConfigError: when there is a value whose content cannot be read, naming its type.
    """
    return hashlib.sha256(repr(_described(settings, ())).encode()).hexdigest()[:LENGTH]


def file_fingerprint(path: str | Path, results: str | Path | None = None) -> str | None:
    """Return what tells whether a file or folder has changed.

    A file's content is hashed; of a folder, which may hold many photographs, the names, sizes and times of all files
    but those that are hidden, or that programs leave in a folder which somebody has looked at.

    Args:
        results: a folder; of one that holds it, or is it, what is inside does not count, as it grows meanwhile.

    Returns:
        None when there is neither, or it cannot be read.
    """
    path = Path(path)
    try:
        if path.is_file():
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()[:LENGTH]
        if path.is_dir():
            own = None if results is None else Path(results).resolve()
            if own is not None:
                own = own.relative_to(path.resolve()) if own.is_relative_to(path.resolve()) else None
            files = sorted(one.relative_to(path) for one in path.rglob("*") if one.is_file())
            counted = [one for one in files if not _is_passing(one) and (own is None or not one.is_relative_to(own))]
            found = [(str(one), (path / one).stat()) for one in counted]
            text = repr([(name, stat.st_size, stat.st_mtime_ns) for name, stat in found])
            return hashlib.sha256(text.encode()).hexdigest()[:LENGTH]
    except (OSError, ValueError):
        return None
    return None


def _is_passing(path: Path) -> bool:
    """Tell whether a file, by its path in a folder, is one that no image, weight or annotation is read from."""
    return path.name in _OF_VIEWERS or "__pycache__" in path.parts or any(part.startswith(".") for part in path.parts)


def _described(value: Any, inside: tuple[int, ...]) -> Any:
    """Nested plain values that are equal for equal settings, without addresses.

    Args:
        inside: of which objects this is a part, outermost first; objects may refer to each other in a circle.
    """
    if isinstance(value, Enum):
        return f"{_name(type(value))}.{value.name}"
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, Tensor | np.ndarray):
        return _array(value)
    if isinstance(value, types.ModuleType):
        return as_written(value.__name__)
    if inspect.isclass(value):
        return _name(value)
    if id(value) in inside:
        return f"the object {inside.index(id(value))} levels from the top"
    inside = (*inside, id(value))
    if isinstance(value, Mapping):
        return sorted([repr(_described(key, inside)), _described(item, inside)] for key, item in value.items())
    if isinstance(value, list | tuple):
        return [_described(item, inside) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(repr(_described(item, inside)) for item in value)
    if inspect.isroutine(value):
        return [_name(value), _described(_beyond_its_name(value), inside)]
    return [_name(type(value)), _described(_state(value), inside)]


def _beyond_its_name(function: Any) -> list[Any]:
    """List what a function depends on: the object of a method, and the values that an inner function encloses."""
    owner = getattr(function, "__self__", None)
    if owner is not None and not isinstance(owner, type | types.ModuleType):
        return [owner]
    if not isinstance(function, types.FunctionType) or "<" not in function.__qualname__:
        return []
    enclosed = [cell.cell_contents for cell in function.__closure__ or ()]
    return [code_parts(function.__code__), function.__defaults__, function.__kwdefaults__, enclosed]


def _state(value: Any) -> Any:
    """Return what distinguishes an object from others of its class."""
    if isinstance(value, torch.Generator):
        return value.get_state()
    try:
        function, arguments, state, *items = [*value.__reduce_ex__(2), None, None, None][:5]
    except TypeError as error:
        raise ConfigError(
            f"{_name(type(value))}: its content cannot be read, so that nothing would tell whether it has changed; "
            "leave it out of what the __getstate__ of its owner returns"
        ) from error
    if isinstance(state, dict):
        state = {name: item for name, item in state.items() if not _is_derived(value, str(name))}
    return [function, arguments, state, *(list(one) for one in items if one is not None)]


def _is_derived(owner: Any, name: str) -> bool:
    cached = isinstance(getattr(type(owner), name, None), cached_property)
    return cached or (isinstance(owner, nn.Module) and name in _HOOKS)


def _array(value: Tensor | np.ndarray) -> list[Any]:
    if isinstance(value, Tensor):
        data = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    elif value.dtype.hasobject:
        data = repr(value.tolist()).encode()
    else:
        data = value.tobytes()
    return [str(value.dtype), tuple(value.shape), hashlib.sha256(data).hexdigest()]


def _name(value: Any) -> str:
    module = getattr(value, "__module__", None)
    name = as_written(f"{module}.{value.__qualname__}")
    if of_program(value):
        return f"{name} {hashlib.sha256(repr(_described(program_code(value), ())).encode()).hexdigest()[:LENGTH]}"
    code = own_code(module) if isinstance(module, str) else None
    return name if code is None else f"{name} {code[:LENGTH]}"
