"""Kinds of options, as the annotations of constructors say."""

import inspect
import types
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    list: "a list",
    dict: "named values",
    types.NoneType: "null",
}


def annotations_of(target: str) -> Mapping[str, Any]:
    """Return the annotations of what a target takes, by name; empty where it has none that can be read.

    Raises:
        ConfigError: when there is no such target, or it may not be named by a configuration.
    """
    from detinv.config.instantiate import locate

    return annotations(locate(target))


@cache
def annotations(function: Any) -> Mapping[str, Any]:
    """Return the annotations of a function or constructor, by name; empty where it has none that can be read."""
    try:
        parameters = inspect.signature(function, eval_str=True).parameters.values()
    except (TypeError, ValueError, NameError, AttributeError):
        # Built-in functions have no signature; some libraries annotate with names that only type checkers import.
        return {}
    variable = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return {one.name: one.annotation for one in parameters if one.kind not in variable}


def fits(value: Any, kind: Any) -> bool:
    """Tell whether a value of a configuration can be given to an argument of this annotation.

    Only plain kinds are judged: of an argument that takes an object, anything but null is taken to describe one.
    """
    origin = get_origin(kind) or kind
    arguments = get_args(kind)
    if origin in (Union, types.UnionType):
        return any(fits(value, one) for one in arguments)
    if origin is Literal:
        return value in arguments
    if origin in (Any, object, inspect.Parameter.empty):
        return True
    if value is None:
        return origin is types.NoneType
    if origin is types.NoneType:
        return False
    if origin in (bool, int):
        return type(value) is origin
    if origin is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if origin in (str, Path):
        return not isinstance(value, list | dict)
    if not isinstance(origin, type):
        return True
    if issubclass(origin, Mapping):
        return isinstance(value, dict)
    if issubclass(origin, Sequence) or origin is tuple:
        return isinstance(value, list)
    return True


def said(kind: Any) -> str:
    """Describe a kind in the words of the command line."""
    origin = get_origin(kind) or kind
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(said(one) for one in get_args(kind)))
    if origin is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    if origin is Path:
        return "a path"
    if isinstance(origin, type) and origin not in _WORDS:
        origin = dict if issubclass(origin, Mapping) else list if issubclass(origin, Sequence) else origin
    return _WORDS.get(origin, f"entries with a _target_ ({getattr(origin, '__name__', origin)})")
