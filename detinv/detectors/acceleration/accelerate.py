"""A frozen detector that gives the same raw predictions with less work, for the steps of an inversion.

Nothing is approximated: normalisation that no longer learns becomes part of the convolution before it, what an adapter
throws away is not computed, and on the CPU channels come last in memory, large 3 x 3 convolutions go Winograd's way,
and the first layer and the pooling of regions have fast gradients.
"""

import copy
import logging
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torchvision.ops import MultiScaleRoIAlign

from detinv.detectors.acceleration.compile import compile_parts
from detinv.detectors.acceleration.folding import adjacent_pairs, fold, replace_modules
from detinv.detectors.acceleration.row_pooling import RowPooling
from detinv.detectors.acceleration.strided_stem import StridedStem
from detinv.detectors.acceleration.winograd import WinogradConv2d
from detinv.detectors.base import AbstractDetector
from detinv.detectors.heads.predictions import Predictions
from detinv.detectors.regions import Regions
from detinv.layouts.batch import canvas_size

TOLERANCE = 1e-3
"""Largest difference of a raw output, in standard deviations of it, that is taken for rounding."""

# Side of the noise that a copy is tried on; where a network needs more than that, its own input size.
_SIDE = 128
_log = logging.getLogger(__name__)


def accelerated(detector: AbstractDetector, compile_mode: str | None = None) -> AbstractDetector:
    """A copy of `detector` whose `forward`, and its gradient to the pixels, cost less.

    The copy has proved, on noise, that its raw predictions are those of `detector`. Where it fails, or a library's
    network cannot be copied, `detector` itself is returned and the log says why.

    Args:
        detector: frozen, on the device it will run on; it stays as it is. Weights that are not changed are shared, so
            the copy is of use as long as they do not change. Detections are to be asked of `detector`.
        compile_mode: see `compile_parts`; None compiles nothing.
    """
    try:
        lower = _sharing_copy(detector)
        probe, expected = _fold_norms(lower)
        lower.drop_unused_outputs()
        if detector.device.type == "cpu":
            _arrange_for_cpu(lower)
        found = difference(expected, _look(lower, probe))
    except Exception as error:  # other people's networks may raise anything; all of them can run as they are
        _log.warning("%s runs as it is: %s: %s", type(detector).__name__, type(error).__name__, error)
        return detector
    if not found <= TOLERANCE:
        _log.warning("%s runs as it is: made faster, its outputs differ by %.2g", type(detector).__name__, found)
        return detector
    if compile_mode is not None:
        compile_parts(lower, partial(_look, lower, probe), compile_mode)
    return lower


def difference(expected: Predictions, found: Predictions) -> float:
    """Largest difference of two detectors' raw outputs for the same images, in standard deviations of each output.

    Only what is computed at the same places is compared: regions proposed by a network, and the queries it chooses,
    may change places when numbers are rounded otherwise.
    """
    with torch.no_grad():
        pairs = zip(_comparable(expected, found), _comparable(found, expected), strict=True)
        return max(float((a - b).abs().max() / a.std(correction=0).clamp(min=1e-6)) for a, b in pairs if a.numel())


def _comparable(predictions: Predictions, others: Predictions) -> Iterator[Tensor]:
    mine, theirs = predictions.dense.identities, others.dense.identities
    if mine is None or theirs is None or torch.equal(mine, theirs):
        yield from predictions.dense.outputs()
    if predictions.encoder is not None:
        yield from predictions.encoder.outputs()
    if predictions.roi is not None:
        roi = predictions.roi
        yield from (output[:, -roi.given :] for output in roi.outputs())


def _sharing_copy(detector: AbstractDetector) -> AbstractDetector:
    """The same modules with the same tensors."""
    tensors = [*detector.parameters(), *detector.buffers()]
    return copy.deepcopy(detector, {id(tensor): tensor for tensor in tensors})


@torch.no_grad()
def _look(detector: AbstractDetector, probe: Tensor) -> Predictions:
    height, width = probe.shape[-2:]
    boxes = probe.new_tensor([[[0.1, 0.2, 0.5, 0.7], [0.0, 0.0, 1.0, 1.0]]]) * probe.new_tensor([width, height] * 2)
    return detector.forward(probe, regions=Regions.of(boxes))


def _fold_norms(detector: AbstractDetector) -> tuple[Tensor, Predictions]:
    """Fold what can be; returns noise and what the detector made of it before."""
    problem: RuntimeError | None = None
    for probe in _probes(detector):
        try:
            pairs, seen = adjacent_pairs(detector, partial(_look, detector, probe))
        except RuntimeError as error:  # a kernel larger than the features of so small an image
            problem = error
            continue
        for layer, norm in pairs:
            fold(layer, norm)
        replace_modules(detector, {norm: nn.Identity().eval() for _, norm in pairs})
        return probe, seen
    assert problem is not None
    raise problem


def _probes(detector: AbstractDetector) -> Iterator[Tensor]:
    """Noise in a small size, and in the size that the detector's own preprocessing gives."""
    mean = detector.pixel_mean
    generator = torch.Generator().manual_seed(0)
    for size in ((_SIDE, _SIDE), detector.network_size((_SIDE, _SIDE))):
        height, width = canvas_size([size], detector.size_divisor)
        yield torch.rand(1, 3, height, width, generator=generator).to(mean.device, mean.dtype)


def _arrange_for_cpu(detector: AbstractDetector) -> None:
    substitutes: dict[nn.Module, nn.Module] = {}
    for module in detector.modules():
        if isinstance(module, nn.Conv2d):
            ordered = module.weight.detach().contiguous(memory_format=torch.channels_last)
            module.weight = nn.Parameter(ordered, requires_grad=False)
            if StridedStem.suits(module):
                substitutes[module] = StridedStem(module)
            elif WinogradConv2d.suits(module):
                substitutes[module] = WinogradConv2d(module)
        elif isinstance(module, MultiScaleRoIAlign) and RowPooling.suits(module):
            substitutes[module] = RowPooling(module)
    replace_modules(detector, substitutes)
