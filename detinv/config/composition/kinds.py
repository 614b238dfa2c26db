"""Whether the values of a configuration are of the right kinds, before anything is built of them.

The right kind is what the constructor that an entry's `_target_` names is annotated with; for all other options, it is
the kind of the default.
"""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, get_args, get_origin

from detinv.config.composition.annotations import annotation_of_option, annotations_of, annotations_of_own, fits, said
from detinv.errors import ConfigError
from detinv.inputs.printable import quoted, suggestion

if TYPE_CHECKING:
    from omegaconf import DictConfig

_KINDS = (bool, int, float, str, list, dict)
# Seeds and counts must fit into 32 bits, for the libraries that they are passed on to.
_LARGEST = 2**32 - 1
# Options of libraries and of other people's detectors, and ids of images in a file.
FOREIGN = ("trainer.", "detector.", "layout.image_ids")
_DETECTOR = "detector."


def check_kinds(
    defaults: Mapping[str, Any],
    config: "DictConfig",
    constructor: str | None = None,
    optional: Collection[str] = (),
) -> None:
    """Raise ConfigError for a value of the wrong kind, or for an option that was removed.

    Args:
        defaults: see `flat_values`.
        config: as it is written or resolved; what is interpolated or still to be given is not checked.
        constructor: dotted name of what takes the options that belong to no other entry.
        optional: options that may be null although they have a default.
    """
    values = flat_values(config)
    for key in defaults:
        if "." not in key and key not in values:
            raise ConfigError(f"~{key}: this option cannot be removed")
    wanted = {key: kind for key, kind in _kinds(values, constructor).items() if not key.startswith(FOREIGN)}
    for key, value in values.items():
        default = defaults.get(key)
        if value is None and default == "???":
            raise ConfigError(f"{key}=null: this option needs a value")
        kind = wanted.get(key, _kind_of(key, default))
        if kind is None or fits(value, kind) or _unknown(value):
            continue
        if value is None and (key in optional or key.startswith(FOREIGN)):
            continue
        if key.startswith(_DETECTOR) and (annotated := annotation_of_option(values, key)) is not None:
            # The default is one of several kinds, as a list of class names is next to the name of a file.
            if fits(value, annotated):
                continue
            kind = annotated
        hint = "" if default in ("???", None) else f", such as its default {default}"
        if isinstance(default, dict) and default:
            hint = f", such as {key}.{next(iter(default))}=..."
        raise ConfigError(f"{key}={'null' if value is None else quoted(value)}: expected {said(kind)}{hint}")


def check_read(command: str, defaults: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Raise ConfigError for an option that was added with `+` and that nothing reads.

    What is added to the options of a target, the target itself refuses if it does not know it.

    Args:
        command: whose options they are.
        defaults: flat values without what is overridden.
        values: flat values.
    """
    for key in values:
        groups = key.split(".")
        above = [values.get(".".join(groups[:count])) for count in range(1, len(groups))]
        if key in defaults or any(isinstance(node, Mapping) and "_target_" in node for node in above):
            continue
        # Of Lightning's Trainer; and named values whose default has no names, so that any may be given.
        if key.startswith("trainer.") or (above and not defaults.get(".".join(groups[:-1]))):
            continue
        beside = [known for known in defaults if known.rpartition(".")[0] == key.rpartition(".")[0]]
        raise ConfigError(
            f"+{key}: detinv {command} has no option {key!r}{suggestion(key, beside)} (see detinv {command} --help)"
        )


def check_numbers(values: Mapping[str, Any]) -> None:
    """Raise ConfigError for a number that no option can mean; the owner of an option checks the rest."""
    for key, value in values.items():
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, bool) or not isinstance(number, int | float):
                continue
            if not key.startswith(FOREIGN) and not 0 <= number <= _LARGEST:
                end = "0 or more" if number < 0 else f"a number of at most {_LARGEST}" if number > 0 else "a number"
                raise ConfigError(f"{key}={quoted(number)}: choose {end}")


def flat_values(node: "DictConfig") -> dict[str, Any]:
    """List dotted keys and values as they are written, groups of values included."""
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


def _kinds(values: Mapping[str, Any], constructor: str | None) -> dict[str, Any]:
    """Find the annotations of all options that a constructor takes, by dotted key."""
    found = dict(annotations_of_own(constructor))
    for key, value in values.items():
        if isinstance(value, Mapping) and isinstance(value.get("_target_"), str) and not key.startswith(FOREIGN):
            target = value["_target_"]
            # What is interpolated is checked when it is resolved.
            if "${" not in target:
                found |= {f"{key}.{name}": kind for name, kind in annotations_of(target).items()}
    # Of an annotated mapping, such as that of weights, each value has a kind as well.
    for key in values:
        group = key.rpartition(".")[0]
        if key not in found and (inner := _of_values(found.get(group))) is not None:
            found[key] = inner
    return found


def _of_values(kind: Any) -> Any:
    arguments = get_args(kind)
    origin = get_origin(kind)
    return arguments[1] if isinstance(origin, type) and issubclass(origin, Mapping) and len(arguments) == 2 else None


def _kind_of(key: str, default: Any) -> type | None:
    """Return the kind of a default; None where it says nothing."""
    if type(default) not in _KINDS or _unknown(default):
        return None
    # A number at the top is a count or a seed; further down, YAML's 30 may be short for 30.0.
    return float if type(default) is int and "." in key else type(default)


def _unknown(value: Any) -> bool:
    """Tell whether a value is interpolated, or still to be given."""
    return isinstance(value, str) and ("${" in value or value == "???")
