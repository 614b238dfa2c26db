"""Where detectors are registered: files in configs/detector, YAML users' own files, and entry points of packages."""

import inspect
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from detinv.config.folders import FILE_ENDINGS, choices, config_dir
from detinv.config.own_files import choice_of, read_own_file
from detinv.config.trust import ENTRY_POINTS
from detinv.config.words import names_in
from detinv.errors import DetectorError
from detinv.inputs.printable import is_text, quoted, suggestion

JOINT = "_joint"
"""The choice that stands for several detectors at once."""

_EXPECTED = "describes no detector; it needs an entry _target_, a function that returns one"


def detector_names() -> tuple[str, ...]:
    """List the names of all registered detectors: those of the package and those of entry points."""
    return tuple(sorted({*choices(config_dir(), "detector"), *_entry_points()}))


def detector_node(name: str) -> dict[str, Any]:
    """Return what describes the detector `name`: `_target_`, `name` and the options with their defaults.

    Args:
        name: of a file in configs/detector without its ending; of an entry point; or the path of a YAML file. Where
            configurations are trusted, its folder is then one of those that modules are imported from.

    Raises:
        DetectorError: for a name that is not there, suggesting the nearest, and for a file that describes no detector.
        ConfigError: for a file that would run code, or trust weights, where configurations are not trusted.
    """
    if name.endswith(FILE_ENDINGS):
        return _read(Path(name))
    if name in choices(config_dir(), "detector"):
        return OmegaConf.to_container(OmegaConf.load(config_dir() / "detector" / f"{name}.yaml"))  # type: ignore[return-value]
    found = _entry_points()
    if name in found:
        return _options(found[name])
    names = detector_names()
    raise DetectorError(
        f"no detector is called {name!r}{suggestion(name, names)} (there are: {', '.join(names)}; or give the path of "
        "a .yaml file)"
    )


def joint_node(names: Sequence[str]) -> dict[str, Any]:
    """Return what describes several detectors at once, for a joint inversion.

    Args:
        names: see `detector_node`; a detector named twice is a mistake.
    """
    members = {str(node["name"]): node for node in map(detector_node, names)}
    if len(members) < len(names):
        raise DetectorError(f"detector=[{','.join(names)}]: each detector may be named once")
    return {
        "_target_": "detinv.inversion.modules.ensemble.assemble_ensemble",
        "_recursive_": False,
        "name": "+".join(members),
        "members": members,
        "shares": dict.fromkeys(members, 1.0),
        "balance": "gradient",
    }


def detector_choice(value: str) -> tuple[str, dict[str, Any] | None]:
    """Return the choice that stands for `detector=value`, and its node where it is not a file of configs/detector.

    Args:
        value: a name, a path, or several in square brackets. A name that is not registered is returned as it is.
    """
    names = names_in(value)
    if len(names) > 1:
        return JOINT, joint_node(names)
    name = names[0] if names else value
    if name in choices(config_dir(), "detector") or not (name.endswith(FILE_ENDINGS) or name in _entry_points()):
        return name, None
    return choice_of(name), detector_node(name)


def _entry_points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def _read(path: Path) -> dict[str, Any]:
    """Read a user's own file and check that it describes a detector."""
    node = read_own_file(path, DetectorError, _EXPECTED)
    if "_target_" not in node:
        raise DetectorError(f"{path}: {_EXPECTED}")
    name = node.get("name", path.stem)
    if not isinstance(name, str) or not name or not is_text(name):
        raise DetectorError(f"{path}: its name {quoted(name)} must be a text")
    return {"name": name, **node}


def _options(point: EntryPoint) -> dict[str, Any]:
    try:
        function = point.load()
    except (ImportError, AttributeError) as error:
        raise DetectorError(
            f"detector {point.name!r}: its entry point {point.value} cannot be imported ({error})"
        ) from error
    defaults = {
        parameter.name: "???" if parameter.default is parameter.empty else parameter.default
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    module, _, attribute = point.value.partition(":")
    return {"_target_": f"{module}.{attribute}", **defaults, "name": point.name}
