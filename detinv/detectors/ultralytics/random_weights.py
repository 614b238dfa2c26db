"""Random weights under which YOLO's detections depend on the image, for testing an adapter and for timing."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from detinv.detectors.ultralytics.network import head_inputs, head_of

# Share of an activation's squared mean that is added to its variance: where noise hardly varies, other images and the
# rounding errors of half precision would otherwise be amplified from layer to layer.
_SHARE = 0.3
# Share of a level's points whose best class lies below the usual threshold, and that threshold's logit.
_QUIET_POINTS, _THRESHOLD = 0.5, math.log(0.25 / 0.75)


def randomise_weights(network: Any) -> None:
    """Change the weights of an untrained network so that its detections depend on the image.

    With the library's initial values, activations vanish before they reach the head, all scores are close to zero, and
    all boxes are equal. Afterwards normalisation has the statistics of noise; on noise, logits have unit variance,
    about half of all points have a score above the threshold, and box sides are a few strides away.

    Args:
        network: one of the library's; it is left in evaluation mode. torch's global generator is used.
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
                _randomise_branch(branch, features[number], head.reg_max, classes=name.endswith("cv3"))


def _randomise_branch(branch: Any, feature: Tensor, bins: int, classes: bool) -> None:
    """Draw new weights for the last layer of one branch of the head."""
    last = branch[-1]
    nn.init.normal_(last.weight)
    nn.init.zeros_(last.bias)
    last.weight /= branch(feature).std()
    if classes:
        best = branch(feature).amax(1)
        last.bias.fill_(_THRESHOLD - float(best.quantile(_QUIET_POINTS)))
    elif bins > 1:
        last.bias.copy_(-0.3 * torch.arange(bins).repeat(4))  # distant bins are rare: about three strides on average
    else:
        last.bias.fill_(1.5)


def _noise(count: int, size: int) -> Float[Tensor, "{count} 3 {size} {size}"]:
    """Return images of coarse and fine noise, RGB in [0, 1]."""
    coarse = F.interpolate(torch.rand(count, 3, 5, 5), (size, size), mode="bilinear")
    return (coarse + 0.2 * torch.randn_like(coarse)).clamp(0, 1)
