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
    """Find what describes each detector; entries of no readable kind are refused elsewhere."""
    from omegaconf import OmegaConf

    from detinv.config.detectors import detector_node

    alone: Any = OmegaConf.to_container(config.detector) if config.get("detector") else {}
    if alone:
        yield from alone["members"].values() if "members" in alone else [alone]
    listed: Any = OmegaConf.to_container(config.detectors) if config.get("detectors") else []
    for entry in listed if isinstance(listed, list) else ():
        own = entry if isinstance(entry, Mapping) else {}
        name = own.get("name", entry)
        if isinstance(name, str):
            yield {**detector_node(name), **own}
