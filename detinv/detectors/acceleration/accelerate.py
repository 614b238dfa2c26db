"""A frozen detector that gives the same raw predictions with less work, for the steps of an inversion.

Nothing is approximated: normalisation layers that no longer learn are folded into the convolutions before them, outputs
that an adapter discards are not computed, and on the CPU memory is laid out channels last, large 3 x 3 convolutions use
Winograd's algorithm, and the first layer and the pooling of regions have fast gradients. Elsewhere, the pooling of
regions does not wait for the device.
"""

import copy
import logging
import math
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torchvision.ops import MultiScaleRoIAlign

from detinv.detectors.acceleration.compile import compile_parts
from detinv.detectors.acceleration.folding import adjacent_pairs, fold, replace_modules
from detinv.detectors.acceleration.full_precision import full_precision
from detinv.detectors.acceleration.level_pooling import LevelPooling
from detinv.detectors.acceleration.row_pooling import RowPooling
from detinv.detectors.acceleration.strided_stem import StridedStem
from detinv.detectors.acceleration.winograd import WinogradConv2d
from detinv.detectors.base import AbstractDetector
from detinv.detectors.heads.predictions import Predictions
from detinv.detectors.regions import Regions
from detinv.errors import DetectorError
from detinv.layouts.batch import canvas_size

TOLERANCE = 1e-3
"""Largest difference of a raw output, in standard deviations of that output, that passes for float32 rounding."""

# Side of the noise image that a copy is tested on, in pixels; networks that need more get their own input size.
_SIDE = 128
_log = logging.getLogger(__name__)


def accelerated(detector: AbstractDetector, compile_mode: str | None = None) -> AbstractDetector:
    """Make a copy of `detector` whose `forward`, and its gradient with respect to the pixels, cost less.

    The copy is returned only if its raw predictions for a noise image equal those of `detector`, computed in full
    float32 precision. If they do not, or if a network cannot be copied, `detector` itself is returned and a warning
    says why; with a `compile_mode`, a plain copy of it is compiled instead.

    Args:
        detector: frozen, on the device it will run on; it is not modified. Unchanged weights are shared, so the copy
            is valid as long as they do not change. Use `detector`, not the copy, for detections.
        compile_mode: see `compile_parts`; None compiles nothing.

    Raises:
        DetectorError: if a `compile_mode` is given and the network can be neither copied nor run on a noise image.
    """
    name = type(detector).__name__
    try:
        with full_precision():
            faster, probe, found = _verified_copy(detector)
        problem = None if found <= TOLERANCE else f"the faster copy's outputs differ by {found:.2g} standard deviations"
    except Exception as error:  # other people's networks may raise anything; all of them can run unchanged
        problem = f"{type(error).__name__}: {error}"
    if problem is not None:
        _log.warning("%s runs without acceleration: %s", name, problem)
        if compile_mode is None:
            return detector
        try:
            faster, probe = sharing_copy(detector), next(iter(_probes(detector)))
        except Exception as error:
            raise DetectorError(
                f"compile_mode={compile_mode}: {name} cannot be copied ({error}); use compile_mode=null"
            ) from error
    if compile_mode is not None:
        parts = compile_parts(faster, partial(_predict, faster, probe), compile_mode)
        if not parts:
            raise DetectorError(
                f"compile_mode={compile_mode}: {name} has no module with parameters to compile; use compile_mode=null"
            )
    return faster


def difference(expected: Predictions, found: Predictions) -> float:
    """Measure the largest difference between two detectors' raw outputs for the same images.

    Only outputs computed at the same places are compared: regions proposed by a network, and the queries it selects,
    may change places when numbers are rounded differently.

    Returns:
        In standard deviations of each output; infinity where either detector's output is not finite.
    """
    with torch.no_grad():
        pairs = zip(_comparable(expected, found), _comparable(found, expected), strict=True)
        return max(_in_deviations(a, b) for a, b in pairs if a.numel())


def _in_deviations(expected: Tensor, found: Tensor) -> float:
    distance = float((expected - found).abs().max() / expected.std(correction=0).clamp(min=1e-6))
    # Python's max and comparisons would pass over NaN.
    return math.inf if math.isnan(distance) else distance


def _comparable(predictions: Predictions, others: Predictions) -> Iterator[Tensor]:
    mine, theirs = predictions.dense.identities, others.dense.identities
    if mine is None or theirs is None or torch.equal(mine, theirs):
        yield from predictions.dense.outputs()
    if predictions.encoder is not None:
        yield from predictions.encoder.outputs()
    if predictions.roi is not None:
        roi = predictions.roi
        yield from (output[:, -roi.given :] for output in roi.outputs())


def _verified_copy(detector: AbstractDetector) -> tuple[AbstractDetector, Tensor, float]:
    """The faster copy, the noise image it was tested on, and the largest `difference` of its outputs."""
    faster = sharing_copy(detector)
    probe, expected = _fold_norms(faster)
    faster.drop_unused_outputs()
    if detector.device.type == "cpu":
        _arrange_for_cpu(faster)
    else:
        faster.avoid_waits()
        pools = [one for one in faster.modules() if isinstance(one, MultiScaleRoIAlign) and LevelPooling.suits(one)]
        replace_modules(faster, {pool: LevelPooling(pool) for pool in pools})
    return faster, probe, difference(expected, _predict(faster, probe))


def sharing_copy(detector: AbstractDetector) -> AbstractDetector:
    """Copy the modules of a detector, but share its tensors, also those that modules keep as plain attributes."""
    kept = [value for module in detector.modules() for value in vars(module).values() if isinstance(value, Tensor)]
    tensors = [*detector.parameters(), *detector.buffers(), *kept]
    return copy.deepcopy(detector, {id(tensor): tensor for tensor in tensors})


@torch.no_grad()
def _predict(detector: AbstractDetector, probe: Tensor) -> Predictions:
    height, width = probe.shape[-2:]
    boxes = probe.new_tensor([[[0.1, 0.2, 0.5, 0.7], [0.0, 0.0, 1.0, 1.0]]]) * probe.new_tensor([width, height] * 2)
    return detector.forward(probe, regions=Regions.of(boxes))


def _fold_norms(detector: AbstractDetector) -> tuple[Tensor, Predictions]:
    """Fold whatever can be folded; returns a noise image and the predictions for it before folding."""
    problem: RuntimeError | None = None
    for probe in _probes(detector):
        try:
            pairs, expected = adjacent_pairs(detector, partial(_predict, detector, probe))
        except RuntimeError as error:  # a kernel larger than the features of so small an image
            problem = error
            continue
        for layer, norm in pairs:
            fold(layer, norm)
        replace_modules(detector, {norm: nn.Identity().eval() for _, norm in pairs})
        return probe, expected
    assert problem is not None
    raise problem


def _probes(detector: AbstractDetector) -> Iterator[Tensor]:
    """Noise images: a small one, then one of the size that the detector's own preprocessing gives."""
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
