"""Checks of the numbers that constructors are given, in the words of the command line."""

import math
from typing import Any

from detinv.errors import ConfigError
from detinv.inputs.printable import quoted


def check_range(options: Any, names: str, least: float = 0.0, most: float = math.inf, *, above: bool = False) -> None:
    """Raise ConfigError if an attribute of `options` is not a finite number from `least` to `most`.

    Args:
        names: of the attributes, separated by spaces; those that are None are passed over.
        above: `least` itself is too little.
    """
    for name in names.split():
        value = getattr(options, name)
        if value is None or (math.isfinite(value) and (least < value if above else least <= value) and value <= most):
            continue
        upper = "" if most == math.inf else f", at most {most:g}"
        raise ConfigError(f"{name}={quoted(value)}: choose {'more than' if above else 'at least'} {least:g}{upper}")


def check_choice(options: Any, name: str, *known: str) -> None:
    """Raise ConfigError if an attribute of `options` is none of the words that are known."""
    value = getattr(options, name)
    if value not in known:
        raise ConfigError(f"{name}={quoted(value)}: choose {', '.join(known[:-1])} or {known[-1]}")
