"""Claims about gradients: they reach every pixel, and every feature layer."""

from itertools import product

import torch
from torch import Tensor

from detinv.checks.finding import Finding
from detinv.checks.trial import AdapterTrial
from detinv.detectors.heads.predictions import Predictions
from detinv.detectors.hooks import capture_features

# A maximum over few channels passes no gradient to one pixel in a hundred; in another image to other ones.
_MOST_IMAGES = 8
_HEADS = ("dense", "roi", "encoder")
_OUTPUTS = ("logits", "deltas", "bins", "quality_logits", "mask_logits")


def gradient_reaches_pixels(trial: AdapterTrial) -> Finding:
    """Each output has a gradient to the pixels, and all together to every pixel of some image, as a maximum may choose.

    A network may cut off one of its heads alone, whose targets would then never be met.
    """
    size = trial.sizes[0]
    missed = torch.ones(size, dtype=torch.bool, device=trial.detector.device)
    finite, tried, outputs = True, 0, 0
    while finite and missed.any() and tried < _MOST_IMAGES:
        pixels, layouts = trial.batch([trial.image(size)], [trial.layout(size, 1)])
        predictions = trial.predict(pixels.requires_grad_(), layouts)
        if not tried and (cut := _without_gradient(predictions, pixels)):
            names = " and ".join(cut)
            advice = (
                f"no gradient comes back through {names}: look for detach(), no_grad() or rounding on the way, and for "
                "a last layer whose weights are all zero, as they may be before training"
            )
            return Finding(False, f"none through {names}", advice)
        (gradient,) = torch.autograd.grad(_combination(predictions, trial.generator), pixels)
        inside = gradient[0, :, : size[0], : size[1]]
        missed &= inside.abs().amax(0) == 0
        finite, tried, outputs = bool(torch.isfinite(inside).all()), tried + 1, len(predictions.outputs())
    count = int(missed.sum())
    measured = f"{count} of {missed.numel():,} pixels without, {outputs} outputs, {tried} images"
    return Finding(finite and not count, measured if finite else f"{measured}; a gradient is not finite")


def gradient_reaches_layers(trial: AdapterTrial) -> Finding:
    """A random combination of all outputs has a finite gradient, not zero, to every declared feature layer."""
    layers = trial.detector.feature_layers()
    if not layers:
        return Finding(None, "no feature layer is declared, and no module returns a feature map")
    size = trial.sizes[0]
    pixels, layouts = trial.batch([trial.image(size)], [trial.layout(size, 1)])
    with capture_features(trial.detector, layers) as features:
        predictions = trial.predict(pixels.requires_grad_(), layouts)
    gradients = torch.autograd.grad(
        _combination(predictions, trial.generator), [features[layer.name] for layer in layers], allow_unused=True
    )
    without = [
        layer.name
        for layer, gradient in zip(layers, gradients, strict=True)
        if gradient is None or not gradient.any() or not gradient.isfinite().all()
    ]
    strides = sorted({layer.stride for layer in layers if layer.stride is not None})
    measured = f"{len(layers)} layers, strides {', '.join(map(str, strides))}"
    return Finding(not without, f"{measured}; no usable gradient to {', '.join(without)}" if without else measured)


def _without_gradient(predictions: Predictions, pixels: Tensor) -> list[str]:
    """Return the names of the raw outputs that no pixel changes."""
    cut = []
    for head, name in product(_HEADS, _OUTPUTS):
        output = getattr(getattr(predictions, head), name, None)
        if output is None or not output.numel():
            continue
        gradient = None
        if output.requires_grad:
            # Not the trial's generator: what is drawn later does not depend on how many outputs there are.
            weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(0)).to(output)
            (gradient,) = torch.autograd.grad((output * weights).sum(), pixels, retain_graph=True, allow_unused=True)
        if gradient is None or not gradient.any():
            cut.append(f"{head}.{name}")
    return cut


def _combination(predictions: Predictions, generator: torch.Generator) -> Tensor:
    outputs = predictions.outputs()
    weighed = [(output * torch.randn(output.shape, generator=generator).to(output)).sum() for output in outputs]
    return torch.stack(weighed).sum()
