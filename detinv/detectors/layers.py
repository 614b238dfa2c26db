"""A detector's features: any layer by its path, backbone stages and pyramid levels by short names."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from detinv.config.printable import suggestion
from detinv.detectors.base import AbstractDetector
from detinv.detectors.canvas import blank_canvas
from detinv.detectors.regions import Regions
from detinv.errors import ConfigError
from detinv.layouts.batch import LayoutBatch, canvas_size
from detinv.types import Pixels

_BACKBONE, _PYRAMID, _POOLER = "model.backbone", "model.backbone.fpn", "model.roi_heads.box_roi_pool"
# Side of the square that short names are found on, before the detector resizes it.
_PROBE = 64


@dataclass(frozen=True)
class Layer:
    """Where features are read.

    Args:
        name: what it goes by.
        module: dotted path inside the detector, such as "model.backbone.fpn"; empty for the detector itself.
        entry: key or number of one of several feature maps; by default all of them.
        taken: read what the module takes in, not what it gives.
        of_boxes: the module gives one row a region, proposals first: only the boxes given to the detector count.
    """

    name: str
    module: str
    entry: str | None = None
    taken: bool = False
    of_boxes: bool = False


def named_layers(detector: AbstractDetector) -> dict[str, Layer]:
    """Layers that have short names, coarser ones after finer ones.

    For models built as torchvision's are: "c3" for what the backbone hands its pyramid at stride 2^3, "p3" for what
    the pyramid gives there, and "roi" for what a second stage pools of a box. None for other detectors.
    """
    if not _has(detector, _BACKBONE):
        return {}
    height, width = canvas_size([detector.network_size((_PROBE, _PROBE))], detector.size_divisor)
    pixels = blank_canvas(detector, 1, (height, width))
    stages: dict[str, Layer] = {}
    for letter, module, taken in (("c", _PYRAMID, True), ("p", _BACKBONE, False)):
        if not _has(detector, module):
            continue
        with torch.no_grad(), _watched(detector, module, taken) as found:
            detector.get_submodule(_BACKBONE)(pixels)
        for entry, features in _entries(found[0]).items():
            number = round(math.log2(width / features.shape[-1]))
            name = f"{letter}{number}"
            stages.setdefault(name, Layer(name, module, entry, taken))
    if _has(detector, _POOLER):
        stages["roi"] = Layer("roi", _POOLER, of_boxes=True)
    return stages


def find_layer(detector: AbstractDetector, name: str) -> Layer:
    """The layer of that short name, or at that path.

    Args:
        name: one of `named_layers`; or a dotted path, followed by a colon and key or number where the module gives
            several feature maps and only one is meant, such as "model.backbone:0".

    Raises:
        ConfigError: when the detector has no such layer; suggests the nearest.
    """
    short = named_layers(detector)
    if name in short:
        return short[name]
    module, colon, entry = name.partition(":")
    paths = [path for path, _ in detector.named_modules() if path]
    if module not in paths:
        known = [*short, *paths]
        listed = f" (there are {', '.join(short)}, and every module's path)" if short else ""
        raise ConfigError(f"the detector has no layer {name!r}{suggestion(module, known)}{listed}")
    return Layer(name, module, entry if colon else None)


def read_features(detector: AbstractDetector, layer: Layer, pixels: Pixels, layouts: LayoutBatch) -> list[Tensor]:
    """Features of one pass, with gradient to the pixels: images along the first axis of each; in fp32.

    A module that is called more than once, as a head is for every level, gives what all calls gave.

    Args:
        pixels: RGB in [0, 1], on the layouts' canvas.
        layouts: their boxes are given to a second stage.

    Raises:
        ConfigError: when the module takes no part, has no such entry, or does not give one row an image.
    """
    with _watched(detector, layer.module, layer.taken) as found:
        detector(pixels, layouts.image_sizes, Regions(layouts.boxes, layouts.valid))
    if not found:
        raise ConfigError(f"layer {layer.name}: {layer.module} takes no part when the detector looks at an image")
    features = []
    for value in found:
        entries = _entries(value)
        if layer.entry is not None and layer.entry not in entries:
            raise ConfigError(f"layer {layer.name}: {layer.module} gives {', '.join(entries)}, not {layer.entry!r}")
        features += [one for key, one in entries.items() if layer.entry in (None, key)]
    if layer.of_boxes:
        count = layouts.boxes.shape[1]
        boxes = [one.unflatten(0, (len(layouts), -1))[:, -count:] for one in features]
        features = [one * layouts.valid.view(*layouts.valid.shape, *[1] * (one.ndim - 2)) for one in boxes]
    rows = {len(one) for one in features}
    if rows != {len(layouts)}:
        raise ConfigError(
            f"layer {layer.name}: {max(rows)} rows for {len(layouts)} images; choose a layer before regions are pooled"
        )
    return [one.float() for one in features]


def _has(detector: AbstractDetector, path: str) -> bool:
    try:
        detector.get_submodule(path)
    except AttributeError:
        return False
    return True


@contextmanager
def _watched(detector: AbstractDetector, path: str, taken: bool) -> Iterator[list[Any]]:
    """A list that fills with what the module gives, or takes in, at every call; nothing is left on it afterwards."""
    found: list[Any] = []

    def given_hook(module: nn.Module, arguments: tuple, output: Any) -> None:
        found.append(_copied(output))

    def taken_hook(module: nn.Module, arguments: tuple) -> None:
        found.append(_copied(arguments[0] if len(arguments) == 1 else arguments))

    module = detector.get_submodule(path)
    handle: RemovableHandle = (
        module.register_forward_pre_hook(taken_hook) if taken else module.register_forward_hook(given_hook)
    )
    try:
        yield found
    finally:
        handle.remove()


def _copied(value: Any) -> Any:
    """The same, of copies: what follows may be a rectifier that works in place."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, Mapping):
        return {key: _copied(entry) for key, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_copied(entry) for entry in value]
    return value


def _entries(value: Any) -> dict[str, Tensor]:
    """Tensors of real numbers by key or number; nested ones have their keys joined by dots."""
    if isinstance(value, Tensor):
        return {"0": value} if value.is_floating_point() else {}
    pairs: Any = ()
    if isinstance(value, Mapping):
        pairs = value.items()
    elif isinstance(value, Sequence) and not isinstance(value, str):
        pairs = enumerate(value)
    found: dict[str, Tensor] = {}
    for key, entry in pairs:
        if isinstance(entry, Tensor):
            found |= {str(key): entry} if entry.is_floating_point() else {}
        else:
            found |= {f"{key}.{name}": tensor for name, tensor in _entries(entry).items()}
    return found
