"""Whether the values of a configuration are of the kinds of their defaults, before anything is made of them."""

from typing import TYPE_CHECKING, Any

from detinv.config.printable import shown
from detinv.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig

_KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    list: "a list",
    dict: "named values",
}
# Seeds and counts are to fit into 32 bits, wherever they are handed to.
_LARGEST = 2**32 - 1
# Options of libraries and of detectors of one's own, and numbers that a file gave to its images.
_FREE = ("trainer.", "detector.", "layout.image_ids")
# Options that null switches off, or leaves to a library; all others need a value of their own kind.
_OPTIONAL = (
    "gradient_clip",
    "trainer.",
    "detector.",
    "preset.objective.weights.",
    "preset.objective.positive_cap",
    "experiment.judge",
    "experiment.layers",
    "experiment.objects.classes",
    "experiment.texture.",
)


def check_kinds(defaults: dict[str, Any], values: dict[str, Any]) -> None:
    """Raise ConfigError for a value of another kind than its default, or one that was taken away.

    Args:
        defaults, values: see `flat_values`.
    """
    for key in defaults:
        if "." not in key and key not in values:
            raise ConfigError(f"~{key}: this option cannot be removed")
    for key, value in values.items():
        default = defaults.get(key)
        # A number at the top is a count or a seed; further down, YAML's 30 may be short for 30.0.
        wanted = float if isinstance(default, int) and not isinstance(default, bool) and "." in key else type(default)
        optional = value is None and key.startswith(_OPTIONAL)
        if wanted in _KINDS and not optional and not _fits(value, default, wanted):
            given = "null" if value is None else shown(value)
            example = f"{key}.{next(iter(default))}=..." if isinstance(default, dict) else f"its default {default}"
            hint = "" if default == "???" else f", such as {example}"
            raise ConfigError(f"{key}={given}: expected {_KINDS[wanted]}{hint}")


def check_numbers(values: dict[str, Any]) -> None:
    """Raise ConfigError for a number that no option can mean; what else is wrong with one, its owner says."""
    for key, value in values.items():
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, bool) or not isinstance(number, int | float):
                continue
            if not key.startswith(_FREE) and not 0 <= number <= _LARGEST:
                end = "0 or more" if number < 0 else f"a number of at most {_LARGEST}"
                raise ConfigError(f"{key}={shown(number)}: choose {end}")


def flat_values(node: "DictConfig") -> dict[str, Any]:
    """Dotted keys and values as they are written, groups of values included."""
    from omegaconf import OmegaConf

    flat: dict[str, Any] = {}

    def add(values: dict[Any, Any], prefix: str) -> None:
        for key, value in values.items():
            flat[f"{prefix}{key!s}"] = value
            if isinstance(value, dict):
                add(value, f"{prefix}{key!s}.")

    values = OmegaConf.to_container(node, resolve=False)
    assert isinstance(values, dict)
    add(values, "")
    return flat


def _fits(value: Any, default: Any, wanted: type) -> bool:
    if value is None:
        return False
    if any(isinstance(text, str) and ("${" in text or text == "???") for text in (value, default)):
        # What is taken from elsewhere, or still to be given, says nothing about its kind.
        return True
    if wanted is str:
        return not isinstance(value, list | dict)
    if wanted is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is wanted
