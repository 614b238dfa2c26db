"""Model randomisation: whether a map depends on what the network has learnt."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from scipy.stats import spearmanr
from torch import Tensor, nn

from detinv.attribution.core.frames import resampled
from detinv.attribution.core.measures import without_rounding
from detinv.attribution.metrics.base import Box
from detinv.detectors.base import PROBE_SIZE, AbstractDetector
from detinv.detectors.hooks import ForwardHook, forward_hooks
from detinv.layouts.batch import canvas_size

# Maps are compared on a grid of so many cells along each axis of the box.
_CELLS = 24


@dataclass(frozen=True)
class Stage:
    """A part of a network, between two of its feature layers.

    Args:
        name: of the feature layer that ends it, or "outputs".
        modules: names of the modules with weights.
    """

    name: str
    modules: tuple[str, ...]


@torch.no_grad()
def stages(detector: AbstractDetector) -> list[Stage]:
    """Return the stages of a detector, from the output to the input, as one forward pass on noise runs through them.

    Feature layers that one module gives end one stage together. A module that is never called as such, because another
    one uses its weights, belongs to the stage of that one.
    """
    calls: list[str] = []

    def noted(name: str) -> ForwardHook:
        return lambda module, arguments, output: calls.append(name)

    modules = dict(detector.named_modules())
    canvas = canvas_size([detector.network_size(PROBE_SIZE)], detector.size_divisor)
    pixels = torch.rand(1, 3, *canvas, generator=torch.Generator().manual_seed(0)).to(detector.device)
    with forward_hooks([(module, noted(name)) for name, module in modules.items()]):
        detector(pixels)
    first = {name: calls.index(name) for name in dict.fromkeys(calls)}
    ends: dict[str, list[str]] = {}
    for layer in detector.feature_layers():
        if layer.module in first:
            ends.setdefault(layer.module, []).append(layer.name)
    bounds = sorted((first[module], _joined(names)) for module, names in ends.items())
    members: dict[str, list[str]] = {"outputs": [], **{name: [] for _, name in reversed(bounds)}}
    for name, module in modules.items():
        if any(True for _ in module.parameters(recurse=False)):
            called = name
            while called and called not in first:
                called = called.rpartition(".")[0]
            place = first.get(called, len(calls))
            members[next((stage for end, stage in bounds if place <= end), "outputs")].append(name)
    return [Stage(name, tuple(names)) for name, names in members.items() if names]


def randomised(detector: AbstractDetector, parts: Sequence[Stage], seed: int) -> AbstractDetector:
    """Return a copy of the detector in whose `parts` each layer's weights are shuffled.

    So the size of activations stays about the same, and nothing of what was learnt is left. Biases and normalisation
    stay as they are.
    """
    found = copy.deepcopy(detector)
    modules = dict(found.named_modules())
    generator = torch.Generator().manual_seed(seed)
    done: set[int] = set()
    for part in parts:
        for name in part.modules:
            for parameter in modules[name].parameters(recurse=False):
                if parameter.ndim > 1 and id(parameter) not in done:
                    done.add(id(parameter))
                    _shuffle(parameter, generator)
    return found


def similarity(first: Float[Tensor, "height width"], second: Float[Tensor, "height width"], box: Box) -> float:
    """Return Spearman's rank correlation of two maps inside a box, in [-1, 1]; NaN where one of them is constant there.

    Far from its object, every map of one raw prediction is low, whatever the weights are.

    Args:
        first, second: of one image, in its frame.
        box: XYXY of the object.

    Source: Adebayo et al. 2018, "Sanity Checks for Saliency Maps", section 3; the restriction to the box is ours.
    """
    height, width = first.shape
    part = (box[0] / width, box[1] / height, box[2] / width, box[3] / height)
    grids = [without_rounding(resampled(one[None], part, (_CELLS, _CELLS))[0].flatten()) for one in (first, second)]
    if any(float(grid.max()) == float(grid.min()) for grid in grids):
        return float("nan")
    return float(spearmanr(grids[0].numpy(), grids[1].numpy()).statistic)


@torch.no_grad()
def _shuffle(parameter: nn.Parameter, generator: torch.Generator) -> None:
    order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
    parameter.copy_(parameter.flatten()[order].view_as(parameter))


def _joined(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
