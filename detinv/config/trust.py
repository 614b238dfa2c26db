"""Whether configurations are trusted, which decides what they may name and read (see docs/security.md).

The command line does not trust them by default: within `trusting(False)` only names of `allowed_targets()` and the
detectors of installed packages can be built, and nothing can be read from the environment. A Python program decides for
itself.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import Any

from detinv.config.targets import allowed_targets, moved_to
from detinv.errors import ConfigError
from detinv.inputs.printable import quoted

ENTRY_POINTS = "detinv.detectors"
"""Group of the entry points: each is a function that returns an `AbstractDetector`; its parameters are options."""

TRUST = "trust_config=true"
"""The option that lets configurations run code of their own."""

TARGET = "_target_"
"""The entry that names what is built."""

# The innermost `trusting` decides; without any, a Python program is calling, which is trusted.
_trust = [True]


@contextmanager
def trusting(trusted: bool) -> Iterator[None]:
    """Decide whether configurations may run code of their own and read the environment, within this block."""
    _trust.append(trusted)
    _set_environment_resolver()
    try:
        yield
    finally:
        _trust.pop()
        _set_environment_resolver()


def is_trusting() -> bool:
    """Tell whether configurations are trusted here."""
    return _trust[-1]


def require_trusting(what: str) -> None:
    """Raise ConfigError unless configurations are trusted here.

    Args:
        what: the file or entry, and what it would do; opens the message.
    """
    if not is_trusting():
        raise ConfigError(f"{what}; if you trust where it comes from, add {TRUST}")


def check_targets(node: Any, where: str = "") -> None:
    """Raise ConfigError if anything in `node` names code that is neither allowed nor trusted.

    Args:
        node: mappings and lists, to any depth.
        where: file the node comes from; opens the message.
    """
    if isinstance(node, Mapping):
        if TARGET in node:
            check_target(node[TARGET], where)
        for value in node.values():
            check_targets(value, where)
    elif isinstance(node, list | tuple):
        for value in node:
            check_targets(value, where)


def check_decisions(node: Any, where: str) -> None:
    """Raise ConfigError where files trust weights, read further files, or compose values that their text does not show.

    Args:
        node: mappings and lists as they are written, with nothing resolved.
        where: file or files the node comes from; opens the message.
    """
    for entry in () if is_trusting() else _decisions(node):
        raise ConfigError(
            f"{where}: {quoted(entry)} may not be set by a file; leave it out and give it on the command line, or "
            f"trust the whole file with {TRUST}"
        )


def check_resolved(node: Any) -> None:
    """Run `check_targets` on what is about to be built; no text in it may turn into an interpolation either."""
    check_targets(node)
    for text in _texts(node):
        if "${" in text:
            require_trusting(f"{quoted(text)} hides an interpolation in a text")


def check_target(target: Any, where: str = "") -> None:
    """Raise ConfigError unless `target` may be built here.

    Args:
        target: a dotted name; anything else is refused.
        where: file it comes from; opens the message.
    """
    if is_trusting() or (isinstance(target, str) and (target in allowed_targets() or target in _installed())):
        return
    new = moved_to(target) if isinstance(target, str) else None
    if new is not None:
        raise ConfigError(f"{_opening(where)}{TARGET} {quoted(target)} has moved; write {new}")
    require_trusting(
        f"{_opening(where)}{TARGET} {quoted(target)} is code beyond what a configuration may name, and would be run"
    )


def _decisions(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key == "defaults" or (str(key).startswith("trust_") and value not in (None, False)):
                yield str(key)
            yield from _decisions(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _decisions(value)
    elif isinstance(node, str) and "${" in node and ":" in node:
        yield node


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping | list | tuple):
        for value in node.values() if isinstance(node, Mapping) else node:
            yield from _texts(value)
    elif isinstance(node, str):
        yield node


def _opening(where: str) -> str:
    return f"{where}: " if where else ""


def _installed() -> set[str]:
    """The functions by which installed packages offer detectors."""
    return {point.value.replace(":", ".") for point in entry_points(group=ENTRY_POINTS)}


def _set_environment_resolver() -> None:
    """Let `${oc.env:...}` read the environment only where configurations are trusted.

    It is the resolver itself that is replaced: its name can be put together from parts, or hidden in a text that
    another resolver decodes.
    """
    from omegaconf import OmegaConf
    from omegaconf.resolvers import oc

    OmegaConf.register_new_resolver("oc.env", oc.env if is_trusting() else _refuse_environment, replace=True)


def _refuse_environment(*names: Any) -> None:
    require_trusting(f"${{oc.env:{','.join(map(str, names))}}} would write a variable of the environment into the run")
