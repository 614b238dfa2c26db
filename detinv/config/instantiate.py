"""How a `_target_` in a configuration becomes an object.

A `_target_` is code to be run: where configurations are not trusted, only some are (see `detinv.config.trust`).
"""

import traceback
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from detinv.config.folders import config_dir, package_of
from detinv.config.targets import moved_to
from detinv.config.trust import TARGET, check_resolved, check_target, is_trusting
from detinv.errors import ConfigError, DetinvError
from detinv.inputs.own_code import own_code
from detinv.inputs.path_modules import importable_by_path
from detinv.inputs.printable import quoted, reason_of

# What our constructors raise when they are given a value of the wrong kind.
_UNUSABLE = (AttributeError, ArithmeticError, LookupError)


def compose_choice(group: str, name: str) -> Any:
    """Compose one file of a group with what it builds on, by Hydra's rules."""
    from omegaconf import OmegaConf

    from detinv.config.hydra_context import composed_of_files

    config = composed_of_files(f"{group}/{name}")
    package = package_of(config_dir(), group)
    return OmegaConf.select(config, group if package in (None, "_global_") else package, default={})


def locate(path: str) -> Any:
    """Return the object at the dotted `path`, a module's attribute.

    Raises:
        ConfigError: when the module or the attribute does not exist, or may not be named by a configuration.
    """
    check_target(path)
    importable_by_path()
    module, _, attribute = path.rpartition(".")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        new = moved_to(path)
        hint = "give module.name" if new is None else f"it has moved: write {new}"
        raise ConfigError(f"{TARGET} {path!r} cannot be imported ({error}); {hint}") from error


def instantiate(node: Any) -> Any:
    """Build what a configuration entry with a `_target_` describes, by Hydra's rules; lists become Python lists.

    Raises:
        DetinvError: whatever the target raised of that kind; ConfigError when it knows no such argument, or a
            `_target_` anywhere in the entry may not be named by a configuration.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate as hydra_instantiate
    from omegaconf.errors import OmegaConfBaseException

    if not is_trusting():
        # What is checked is what is built: resolved, and detached from what it was taken from.
        node = _resolved(node)
        check_resolved(node)
    importable_by_path()
    try:
        return hydra_instantiate(node, _convert_="all")
    except (TypeError, OmegaConfBaseException) as error:  # of Hydra's own entries, such as _recursive_
        raise mistake_within(error) from error
    except InstantiationException as error:
        cause = error.__cause__
        if cause is None:
            raise mistake_within(error) from error
        if isinstance(cause, DetinvError):
            raise cause from None
        if isinstance(cause, TypeError) and "unexpected keyword argument" in str(cause):
            raise ConfigError(f"an option that its target does not have: {reason_of(cause)}") from error
        # Users who run their own code want to see where it failed.
        if _in_own_code(cause):
            raise
        if isinstance(cause, TypeError | ValueError) or (isinstance(cause, _UNUSABLE) and not is_trusting()):
            raise ConfigError(f"an option{_of_target(error)} with an unusable value: {reason_of(cause)}") from error
        raise


def _in_own_code(error: BaseException) -> bool:
    """Tell whether an error was raised in code that is not installed, or in what it called."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(own_code(str(frame.f_globals.get("__name__"))) is not None for frame, _ in frames)


def _of_target(error: Exception) -> str:
    """Whose option it is, in Hydra's words: Error in call to target 'module.name'."""
    _, quote, rest = reason_of(error).partition("target '")
    return f" of {rest.partition(chr(39))[0].rpartition('.')[2]}" if quote else ""


def _resolved(node: Any) -> Any:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    if node is not None and not isinstance(node, Mapping | list | tuple) and not OmegaConf.is_config(node):
        # A text would be read as YAML.
        raise ConfigError(f"{quoted(node)}: expected entries with a {TARGET}")
    try:
        config = node if OmegaConf.is_config(node) else OmegaConf.create(node)
        return None if node is None else OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise mistake_within(error) from error


def mistake_within(error: BaseException) -> DetinvError:
    """Return the mistake that a library's error wraps, or the one in its first line."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, DetinvError):
            return cause
        cause = cause.__cause__ or cause.__context__
    # OmegaConf's errors know where they happened.
    key = getattr(error, "full_key", None)
    return ConfigError(f"{f'{key}: ' if key else ''}{reason_of(error).rstrip('.:')}")
