"""Folding of normalisation layers that no longer learn into the convolutions before them."""

import copy
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import TypeVar

import torch
from jaxtyping import Float64
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from detinv.detectors.hooks import forward_hooks

# The attribute under which Detectron2's convolutions keep a normalisation layer that they apply themselves.
_OWN = "norm"

Outputs = TypeVar("Outputs")


def is_frozen_norm(module: nn.Module) -> bool:
    """Tell whether a layer only scales and shifts each channel by constants that it will not learn."""
    if any(parameter.requires_grad for parameter in module.parameters(recurse=False)):
        return False
    if isinstance(module, _BatchNorm):
        return not module.training and module.running_mean is not None
    # torchvision, Detectron2 and transformers each define a class of this name.
    return type(module).__name__.endswith("FrozenBatchNorm2d")


def adjacent_pairs(network: nn.Module, run: Callable[[], Outputs]) -> tuple[list[tuple[nn.Conv2d, nn.Module]], Outputs]:
    """Find the convolutions whose output goes, unmodified, into a frozen normalisation layer.

    Hooks cannot tell whether the output is used elsewhere as well: compare the network's outputs before and after
    folding.

    Args:
        network: in evaluation mode.
        run: runs `network` once, on any input.

    Returns:
        The pairs of convolution and normalisation, and what `run` returned.
    """
    calls: Counter[nn.Conv2d] = Counter()
    # Outputs are kept alive so that no two share an id; a tensor's version rises when it is written to.
    made: dict[int, tuple[nn.Conv2d, Tensor, int]] = {}
    sources: dict[nn.Module, list[nn.Conv2d | None]] = defaultdict(list)

    def after_convolution(layer: nn.Module, arguments: tuple, output: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d)
        calls[layer] += 1
        made[id(output)] = (layer, output, output._version)

    def before_norm(norm: nn.Module, arguments: tuple) -> None:
        layer, output, version = made.get(id(arguments[0]) if arguments else 0, (None, None, None))
        sources[norm].append(layer if output is not None and output._version == version else None)

    convolutions: list[nn.Module] = []
    norms: list[nn.Module] = []
    own: list[tuple[nn.Conv2d, nn.Module]] = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            norm = getattr(module, _OWN, None)
            if isinstance(norm, nn.Module) and is_frozen_norm(norm):
                own.append((module, norm))
            else:
                convolutions.append(module)
        elif is_frozen_norm(module):
            norms.append(module)
    after = [(convolution, after_convolution) for convolution in convolutions]
    with torch.no_grad(), forward_hooks(after, [(norm, before_norm) for norm in norms]):
        outputs = run()
    pairs = list(own)
    for norm, layers in sources.items():
        layer = layers[0]
        if layer is not None and set(layers) == {layer} and calls[layer] == len(layers):
            pairs.append((layer, norm))
    return pairs, outputs


@torch.no_grad()
def fold(layer: nn.Conv2d, norm: nn.Module) -> None:
    """Give `layer` new weights under which it also applies `norm`.

    Computed in float64, on the CPU because Apple's GPUs have no float64. torch's `fuse_conv_bn_eval` is not used: it
    takes BatchNorm's own attributes, which the libraries' frozen layers do not have, and computes in float32.
    """
    factor, offset = _affine(norm, layer.out_channels)
    weight = layer.weight.cpu().double() * factor[:, None, None, None]
    bias = offset if layer.bias is None else offset + factor * layer.bias.cpu().double()
    # New parameters, because the old ones may be shared.
    for name, value in (("weight", weight), ("bias", bias)):
        value = value.to(layer.weight.dtype).to(layer.weight.device)
        setattr(layer, name, nn.Parameter(value, requires_grad=False))


def replace_modules(network: nn.Module, substitutes: dict[nn.Module, nn.Module]) -> None:
    """Replace modules by their substitutes wherever they are registered in `network`."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if child in substitutes:
                setattr(parent, name, substitutes[child])


def _affine(norm: nn.Module, channels: int) -> tuple[Float64[Tensor, " channel"], Float64[Tensor, " channel"]]:
    """Measure each channel's factor and offset; libraries add their epsilon in different places."""
    measured = copy.deepcopy(norm).cpu().double()
    zeros = torch.zeros(1, channels, 1, 1, dtype=torch.float64)
    offset = measured(zeros).flatten()
    return measured(zeros + 1).flatten() - offset, offset
