"""Untrained YOLO networks that nevertheless look at the image: for trying an adapter and for timing."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from detinv.detectors.ultralytics.network import head_inputs, head_of

# Share of an activation's squared mean that counts as its variance: where noise hardly varies, other images, and the
# rounding of half precision, are not blown up from layer to layer.
_SHARE = 0.3
# Share of a level's points whose best class lies below the usual threshold, and that threshold's logit.
_QUIET_POINTS, _THRESHOLD = 0.5, math.log(0.25 / 0.75)


def randomise_weights(network: Any) -> None:
    """Change the weights of an untrained network so that what it reports depends on the image.

    As the library leaves them, signals die out before they reach the head, all scores are next to zero, and all boxes
    equal. Afterwards the normalisation has the statistics of noise, and in noise logits have unit spread, about half of
    all points a score above the threshold, and sides lie a few strides away.

    Args:
        network: of the library's; left in evaluation mode. Numbers are drawn from torch's global generator.
    """
    images = _noise(16, 128)
    norms: list[Any] = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        network.train()(images)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.running_var += _SHARE * norm.running_mean**2
        features = head_inputs(network.eval(), images)
        head = head_of(network)
        for name in ("cv2", "cv3", "one2one_cv2", "one2one_cv3"):
            for number, branch in enumerate(getattr(head, name, None) or ()):
                _enliven_branch(branch, features[number], head.reg_max, classes=name.endswith("cv3"))


def _enliven_branch(branch: Any, feature: Tensor, bins: int, classes: bool) -> None:
    """Draw the last layer of one branch of the head anew."""
    last = branch[-1]
    nn.init.normal_(last.weight)
    nn.init.zeros_(last.bias)
    last.weight /= branch(feature).std()
    if classes:
        best = branch(feature).amax(1)
        last.bias.fill_(_THRESHOLD - float(best.quantile(_QUIET_POINTS)))
    elif bins > 1:
        last.bias.copy_(-0.3 * torch.arange(bins).repeat(4))  # far bins are rare: about three strides on average
    else:
        last.bias.fill_(1.5)


def _noise(count: int, size: int) -> Float[Tensor, "{count} 3 {size} {size}"]:
    """Images of coarse and fine noise, RGB in [0, 1]."""
    coarse = F.interpolate(torch.rand(count, 3, 5, 5), (size, size), mode="bilinear")
    return (coarse + 0.2 * torch.randn_like(coarse)).clamp(0, 1)
