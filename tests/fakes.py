"""Small detectors with random weights that nevertheless find something."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torchvision.models.detection import FCOS

from detinv.detectors.torchvision_common import AbstractTorchvisionDetector
from detinv.detectors.torchvision_fcos import TorchvisionFCOS
from detinv.detectors.torchvision_rcnn import TorchvisionRCNN
from detinv.detectors.torchvision_retinanet import TorchvisionRetinaNet
from detinv.zoo.models import build_fasterrcnn, build_fcos, build_maskrcnn, build_retinanet

FAMILIES = ("retinanet", "fcos", "fasterrcnn", "maskrcnn")

# Spread and bias of what the last layers give: scores on both sides of the thresholds, boxes around their anchors.
_FINAL_LAYERS = {
    "cls_logits": (1.0, -1.0),
    "bbox_ctrness": (1.0, 1.0),
    "bbox_reg": (0.2, 0.0),
    "cls_score": (1.0, 0.0),
    "bbox_pred": (0.2, 0.0),
    "mask_fcn_logits": (1.0, 0.0),
}

_BUILDERS = {
    "retinanet": (build_retinanet, TorchvisionRetinaNet),
    "fcos": (build_fcos, TorchvisionFCOS),
    "fasterrcnn": (build_fasterrcnn, TorchvisionRCNN),
    "maskrcnn": (build_maskrcnn, TorchvisionRCNN),
}


def tiny_detector(
    family: str, num_classes: int = 3, image_size: tuple[int, int] = (64, 64), seed: int = 0
) -> AbstractTorchvisionDetector:
    """A frozen detector of `family` whose random weights are large enough that images matter to what it reports.

    Args:
        family: one of `FAMILIES`.
        image_size: (shorter, longer) side, as torchvision's models take it.
        seed: of the weights; torch's global generator is left as it was.
    """
    build, adapter = _BUILDERS[family]
    return adapter(tiny_model(build, num_classes, image_size, seed), [f"class{k}" for k in range(num_classes)])


def tiny_model(build: Callable[..., Any], num_classes: int, image_size: tuple[int, int], seed: int) -> nn.Module:
    """A torchvision model from one of the zoo's builders, with lively random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build(num_classes, image_size)
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight)
        _settle_normalisation(model.backbone, torch.randn(4, 3, *image_size))
        for name, module in model.named_modules():
            if (last := name.rsplit(".", 1)[-1]) in _FINAL_LAYERS:
                _randomise(module, *_FINAL_LAYERS[last])
        if isinstance(model, FCOS):
            # Distances in anchor sides; a few are below zero, as in a trained model.
            _randomise(model.head.regression_head.bbox_reg, 1.0, 1.0)
    return model.eval()


def _settle_normalisation(backbone: nn.Module, inputs: torch.Tensor) -> None:
    """Running statistics as after training, so that activations neither vanish nor explode."""
    norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    backbone.train()(inputs)
    for norm in norms:
        norm.momentum = 0.1


def _randomise(layer: Any, deviation: float, bias: float) -> None:
    nn.init.normal_(layer.weight, std=deviation / math.sqrt(math.prod(layer.weight.shape[1:])))
    nn.init.constant_(layer.bias, bias)
