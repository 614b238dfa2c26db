"""Normalisation that no longer learns, folded into the convolution before it."""

import copy
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import TypeVar

import torch
from jaxtyping import Float64
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

# How Detectron2's convolutions call a normalisation of their own, which they apply themselves.
_OWN = "norm"

Seen = TypeVar("Seen")


def is_frozen_norm(module: nn.Module) -> bool:
    """Whether a layer multiplies each channel by a constant and adds one, and will not learn others."""
    if any(parameter.requires_grad for parameter in module.parameters(recurse=False)):
        return False
    if isinstance(module, _BatchNorm):
        return not module.training and module.running_mean is not None
    # torchvision, Detectron2 and transformers have one each.
    return type(module).__name__.endswith("FrozenBatchNorm2d")


def adjacent_pairs(network: nn.Module, look: Callable[[], Seen]) -> tuple[list[tuple[nn.Conv2d, nn.Module]], Seen]:
    """Convolutions with the frozen normalisation that took, untouched, whatever they gave.

    That nothing else took it as well, no hook can tell: compare what the network gives before and after folding.

    Args:
        network: in evaluation mode.
        look: lets `network` look at something, once.

    Returns:
        The pairs, and what `look` returned.
    """
    calls: Counter[nn.Conv2d] = Counter()
    # Outputs are kept alive, so that no two have the same id; a version rises when something is written into them.
    made: dict[int, tuple[nn.Conv2d, Tensor, int]] = {}
    sources: dict[nn.Module, list[nn.Conv2d | None]] = defaultdict(list)

    def after_convolution(layer: nn.Module, arguments: tuple, output: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d)
        calls[layer] += 1
        made[id(output)] = (layer, output, output._version)

    def before_norm(norm: nn.Module, arguments: tuple) -> None:
        layer, output, version = made.get(id(arguments[0]) if arguments else 0, (None, None, None))
        sources[norm].append(layer if output is not None and output._version == version else None)

    handles, own = [], []
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            norm = getattr(module, _OWN, None)
            if isinstance(norm, nn.Module) and is_frozen_norm(norm):
                own.append((module, norm))
            else:
                handles.append(module.register_forward_hook(after_convolution))
        elif is_frozen_norm(module):
            handles.append(module.register_forward_pre_hook(before_norm))
    try:
        with torch.no_grad():
            seen = look()
    finally:
        for handle in handles:
            handle.remove()
    pairs = list(own)
    for norm, layers in sources.items():
        layer = layers[0]
        if layer is not None and set(layers) == {layer} and calls[layer] == len(layers):
            pairs.append((layer, norm))
    return pairs, seen


@torch.no_grad()
def fold(layer: nn.Conv2d, norm: nn.Module) -> None:
    """Give `layer` new weights under which it does what `norm` did to its output as well; computed in float64."""
    factor, offset = _affine(norm, layer.out_channels)
    weight = layer.weight.double() * factor[:, None, None, None]
    bias = offset if layer.bias is None else offset + factor * layer.bias.double()
    # New parameters: the old ones may be somebody else's as well.
    for name, value in (("weight", weight), ("bias", bias)):
        setattr(layer, name, nn.Parameter(value.to(layer.weight.dtype), requires_grad=False))


def replace_modules(network: nn.Module, substitutes: dict[nn.Module, nn.Module]) -> None:
    """Put other modules in the place of some, wherever in `network` they are registered."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if child in substitutes:
                setattr(parent, name, substitutes[child])


def _affine(norm: nn.Module, channels: int) -> tuple[Float64[Tensor, " channel"], Float64[Tensor, " channel"]]:
    """Factor and offset of each channel, measured: libraries keep their epsilon in different places."""
    device = next(iter([*norm.buffers(), *norm.parameters()])).device
    measured = copy.deepcopy(norm).double()
    zeros = torch.zeros(1, channels, 1, 1, dtype=torch.float64, device=device)
    offset = measured(zeros).flatten()
    return measured(zeros + 1).flatten() - offset, offset
