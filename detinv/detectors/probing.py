"""Finds out by one forward pass which feature maps a network computes, and at which stride."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from detinv.detectors.feature_layers import FeatureLayer
from detinv.detectors.hooks import forward_hooks
from detinv.detectors.tensor_tree import float_tensors

# Coarser maps are those of squeeze-and-excitation and the like.
_STAGE_STRIDES = (2, 4, 8, 16, 32)


@dataclass(frozen=True)
class ModuleOutput:
    """One tensor that a module returned in the pass.

    Args:
        module: dotted path.
        output: its key or number; empty where the module returned a single tensor.
        tensor: of a batch of one image.
        stride: of a feature map (1, channel, height, width), in pixels of the canvas; None for any other tensor.
    """

    module: str
    output: str
    tensor: Tensor
    stride: int | None

    def layer(self, name: str, **options: Any) -> FeatureLayer:
        """Return the layer that captures this tensor."""
        axis = -1 if options.get("tokens") else 1
        values: dict[str, Any] = {
            "stride": self.stride,
            "channels": self.tensor.shape[axis],
            "output": self.output or None,
        }
        return FeatureLayer(name, self.module, **values | options)


@torch.no_grad()
def module_outputs(network: nn.Module, canvas: tuple[int, int], run: Callable[[], object]) -> list[ModuleOutput]:
    """Return what all modules of `network` return while `run` runs it, in the order in which they finish.

    Args:
        canvas: (height, width) of the one image that `run` passes through the network.
    """
    found: list[ModuleOutput] = []

    def record(path: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, arguments: Any, output: Any) -> None:
            for key, tensor in float_tensors(output).items():
                found.append(ModuleOutput(path, key, tensor, _stride(tensor, canvas)))

        return hook

    with forward_hooks([(module, record(path)) for path, module in network.named_modules() if path]):
        run()
    return found


def backbone_stages(
    outputs: Iterable[ModuleOutput], inside: Sequence[str], finer_than: int = _STAGE_STRIDES[-1] + 1
) -> list[FeatureLayer]:
    """Return the last feature map of each stride from 2 on, finest first: "c1" has stride 2, "c2" stride 4, ...

    Only modules that return a single map, and are called once, are considered. A module inside one that returns a
    coarser map is part of the next stage already, and is taken only where there is no other of its stride.

    Args:
        outputs: of all modules.
        inside: paths of the modules that make up the backbone, themselves included.
        finer_than: strides from here on are left out.
    """
    outputs = list(outputs)
    # An activation that many blocks share has no place of its own.
    returned = Counter((one.module, one.output) for one in outputs)
    strides = {
        one.module: one.stride
        for one in outputs
        if one.stride in _STAGE_STRIDES and not one.output and returned[one.module, one.output] == 1
        if any(one.module == path or one.module.startswith(f"{path}.") for path in inside)
    }
    order = list(strides)

    def rank(module: str) -> tuple[bool, int, int]:
        part_of_next = any(strides.get(parent, 0) > strides[module] for parent in _parents(module))
        return part_of_next, module.count(".") if part_of_next else 0, -order.index(module)

    by_module = {one.module: one for one in outputs}
    stages = []
    for stride in sorted(set(strides.values())):
        if stride < finer_than:
            module = min((module for module in order if strides[module] == stride), key=rank)
            stages.append(by_module[module].layer(f"c{stride.bit_length() - 1}"))
    return stages


def find_outputs(outputs: Iterable[ModuleOutput], module: str) -> list[ModuleOutput]:
    """Return what the first call of a module returned."""
    found: dict[str, ModuleOutput] = {}
    for one in outputs:
        if one.module == module:
            found.setdefault(one.output, one)
    return list(found.values())


def region_layers(outputs: Iterable[ModuleOutput], modules: Mapping[str, str]) -> list[FeatureLayer]:
    """Return the layers of what a second stage computes for each region.

    Args:
        outputs: of all modules in one pass.
        modules: from a layer's name to its module; one that was not called has no layer.
    """
    outputs = list(outputs)
    return [
        one.layer(name, stride=None, per_region=True)
        for name, module in modules.items()
        for one in find_outputs(outputs, module)
    ]


def neck_levels(outputs: Iterable[ModuleOutput]) -> list[FeatureLayer]:
    """Return the layers of the maps that a neck hands to the heads, in their order.

    They are named by their stride: "p3" for strides around 8, "p4" around 16. Of several with one name the second one
    is "p5b", the third one "p5c".

    Args:
        outputs: of the neck; what is no map of the whole canvas is left out.
    """
    layers: dict[str, FeatureLayer] = {}
    for one in outputs:
        if one.stride is not None:
            number = f"p{round(math.log2(one.stride))}"
            name = next(name for name in (number, *(number + letter for letter in "bcdefgh")) if name not in layers)
            layers[name] = one.layer(name)
    return list(layers.values())


def probed_layers(outputs: Sequence[ModuleOutput], raw: Sequence[Tensor]) -> list[FeatureLayer]:
    """Return the layers of a network about which nothing is known.

    These are the feature maps of the outermost modules that return any, which a module's path names, and, for each
    finer stride from 2 on, the last map inside those modules. Maps whose numbers are the raw predictions are no
    features and left out. Where nothing else is returned, as by the module of the whole network, the modules inside
    are looked at.

    Args:
        outputs: of all modules.
        raw: the raw predictions of the same pass.
    """
    maps = [one for one in outputs if one.stride is not None and one.stride > 1]
    numbers = torch.cat([tensor.flatten().float() for tensor in raw]) if raw else torch.zeros(0)
    features: list[ModuleOutput] = []
    while maps and not features:
        paths = {one.module for one in maps}
        outermost = {path for path in paths if paths.isdisjoint(_parents(path))}
        outer = [one for one in maps if one.module in outermost]
        features = [one for one in outer if not torch.isin(one.tensor.flatten().float(), numbers).all()]
        if not features:
            maps = [one for one in maps if one.module not in outermost]
    finest = min((one.stride for one in features if one.stride is not None), default=1)
    stages = [
        stage
        for stage in backbone_stages(maps, sorted({one.module for one in maps}), finest)
        if not any(stage.module == one.module for one in features)
    ]
    named: dict[str, FeatureLayer] = {stage.name: stage for stage in stages}
    for one in features:
        name = f"{one.module}:{one.output}" if one.output else one.module
        named.setdefault(name, one.layer(name))
    return list(named.values())


def probed_levels(layers: Sequence[FeatureLayer], strides: Sequence[int]) -> list[FeatureLayer]:
    """Return, for each stride of a head's levels, the last of the layers with that stride.

    Raises:
        LookupError: when there is none.
    """
    found = []
    for stride in strides:
        fitting = [layer for layer in layers if layer.stride == stride and not layer.per_region]
        if not fitting:
            raise LookupError(f"no feature map of stride {stride}")
        found.append(fitting[-1])
    return found


def _parents(path: str) -> list[str]:
    """Paths of the modules that contain the one at `path`, outermost first."""
    parts = path.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def _stride(tensor: Tensor, canvas: tuple[int, int]) -> int | None:
    """Pixels from one cell to the next where the tensor is a map of the whole canvas."""
    if tensor.ndim != 4 or len(tensor) != 1:
        return None
    height, width = tensor.shape[-2:]
    stride = round(canvas[0] / height) if height else 0
    if stride < 1 or -(-canvas[0] // stride) != height or -(-canvas[1] // stride) != width:
        return None
    return stride
