"""The code of classes and functions that a program or notebook defines itself, in the module `__main__`.

The program as a whole changes for many reasons, and of a notebook there is no file; so only what a class or function
uses counts, and it is read from the objects themselves.
"""

import dis
import inspect
import types
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch

from detinv.inputs.own_code import own_code

_PROGRAM = "__main__"
_VALUES = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.Tensor, np.ndarray)


def of_program(value: Any) -> bool:
    """Tell whether a class or function is defined by the program itself."""
    return (inspect.isclass(value) or inspect.isroutine(value)) and getattr(value, "__module__", None) == _PROGRAM


def program_code(value: Any) -> list[Any]:
    """List the code of a class or function of the program, and of all that it uses there: functions, classes, values.

    Comments do not count, and neither do objects, nor values that the code itself changes.

    Args:
        value: see `of_program`.

    Returns:
        Plain values and tensors, equal in every process that runs the same code.
    """
    parts: list[Any] = []
    waiting, seen = [value], set[int]()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        used: list[tuple[str, Any]]
        if inspect.isclass(one):
            parts.append(one.__qualname__)
            used = [*((base.__qualname__, base) for base in one.__bases__), *_members(one)]
        elif isinstance(one, types.FunctionType):
            parts.append([one.__qualname__, code_parts(one.__code__)])
            used = list(_used(one))
        else:
            continue
        for name, item in used:
            if of_program(item) or isinstance(item, types.FunctionType) and item.__globals__["__name__"] == _PROGRAM:
                waiting.append(item)
            elif _is_value(item):
                parts.append([name, item])
            elif code := _own_code(item):
                parts.append([name, code])
    return parts


def code_parts(code: types.CodeType) -> list[Any]:
    """List what a code object does, without where it stands."""
    constants = [code_parts(one) if isinstance(one, types.CodeType) else one for one in code.co_consts]
    return [code.co_code, code.co_names, constants]


def _members(owner: type) -> Iterator[tuple[str, Any]]:
    for name, member in sorted(vars(owner).items()):
        if isinstance(member, staticmethod | classmethod):
            yield name, member.__func__
        elif isinstance(member, property):
            yield from ((name, part) for part in (member.fget, member.fset) if part is not None)
        elif isinstance(member, cached_property):
            yield name, member.func
        elif inspect.isroutine(member) or inspect.isclass(member) or not name.startswith("__"):
            yield name, member


def _used(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield names and values of the globals that a function reads, what it encloses, and its defaults."""
    read, written = set[str](), set[str]()
    codes = [function.__code__]
    while codes:
        code = codes.pop()
        codes += [one for one in code.co_consts if isinstance(one, types.CodeType)]
        for step in dis.get_instructions(code):
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                read.add(step.argval)
            elif step.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
                written.add(step.argval)
    for name in sorted(read - written):
        if name in function.__globals__:
            yield name, function.__globals__[name]
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not filled yet
            continue
    yield "defaults", function.__defaults__
    yield "keyword defaults", function.__kwdefaults__


def _is_value(value: Any) -> bool:
    if isinstance(value, list | tuple | set | frozenset):
        return all(map(_is_value, value))
    if isinstance(value, Mapping):
        return all(_is_value(key) and _is_value(item) for key, item in value.items())
    return isinstance(value, _VALUES)


def _own_code(value: Any) -> str | None:
    """Return the code of a module that is not installed, or of that of a class or function."""
    if isinstance(value, types.ModuleType):
        return own_code(value.__name__)
    module = getattr(value, "__module__", None) if inspect.isclass(value) or inspect.isroutine(value) else None
    return own_code(module) if isinstance(module, str) else None
