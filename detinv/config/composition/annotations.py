"""Kinds of options, taken from the annotations of constructors."""

import inspect
import types
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
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


def annotations_of_own(constructor: str | None) -> Mapping[str, Any]:
    """Return the annotations of what takes a command's own options, given by its dotted name; empty for None."""
    if constructor is None:
        return {}
    module, _, name = constructor.rpartition(".")
    return annotations(getattr(import_module(module), name))


def annotation_of_option(values: Mapping[str, Any], key: str) -> Any:
    """Return the annotation of what the target of an option's group takes; None where there is none.

    Args:
        values: flat values of a configuration.
        key: dotted.

    Raises:
        ConfigError: see `annotations_of`.
    """
    group, _, name = key.rpartition(".")
    node = values.get(group)
    target = node.get("_target_") if isinstance(node, Mapping) else None
    # What is interpolated is known only when it is resolved.
    if not isinstance(target, str) or "${" in target:
        return None
    return annotations_of(target).get(name)


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

    Only plain kinds are checked: of an argument that takes an object, anything but null is taken to describe one.
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
