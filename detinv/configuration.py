"""Where the configuration files lie, and how a `_target_` in them becomes an object."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from detinv.errors import ConfigError


def config_dir() -> Path:
    """The folder of configuration groups: packaged with an installed detinv, beside the package in a checkout."""
    package = Path(__file__).resolve().parent
    packaged = package / "configs"
    return packaged if packaged.is_dir() else package.parent / "configs"


def locate(path: str) -> Any:
    """The object at the dotted `path`, a module's attribute.

    Raises:
        ConfigError: when the module or the attribute does not exist.
    """
    module, _, attribute = path.rpartition(".")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"_target_ {path!r} cannot be imported ({error}); give module.name") from error


def instantiate(node: Mapping[str, Any]) -> Any:
    """Call what `node["_target_"]` names with the other entries; nested targets first, lists become tuples."""
    values = {str(key): _value(value) for key, value in node.items()}
    return locate(values.pop("_target_"))(**values)


def _value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return instantiate(value) if "_target_" in value else {str(key): _value(item) for key, item in value.items()}
    if isinstance(value, str | bytes) or not hasattr(value, "__iter__"):
        return value
    return tuple(_value(item) for item in value)
