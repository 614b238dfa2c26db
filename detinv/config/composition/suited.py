"""Which preset a command takes when none is chosen: the one that suits what its detectors were trained on."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omegaconf import DictConfig

DEFAULT, PHOTOGRAPHS = "default", "photographs"
"""Names of presets: for detectors of drawings, and for those of photographs."""


def suited_preset(command: str, config: "DictConfig") -> str:
    """Return the name of the preset for the detectors of a composed configuration.

    Any detector that says nothing else, in `trained_on_photographs`, was trained on photographs.
    """
    if command == "verify":
        return PHOTOGRAPHS if config.get("real") else DEFAULT
    nodes = list(_nodes(config))
    return PHOTOGRAPHS if any(node.get("trained_on_photographs", True) for node in nodes) else DEFAULT


def _nodes(config: "DictConfig") -> Iterable[Mapping[str, Any]]:
    """Find what describes each detector; entries that name none are refused elsewhere."""
    from omegaconf import OmegaConf

    from detinv.config.detectors import detector_names, detector_node
    from detinv.config.folders import FILE_ENDINGS

    content: Any = OmegaConf.to_container(config)
    alone, listed = content.get("detector"), content.get("detectors")
    if isinstance(alone, Mapping):
        yield from alone["members"].values() if "members" in alone else [alone]
    for entry in listed if isinstance(listed, list) else ():
        own = entry if isinstance(entry, Mapping) else {}
        name = own.get("name", entry)
        if isinstance(name, str) and (name in detector_names() or name.endswith(FILE_ENDINGS)):
            yield {**detector_node(name), **own}
