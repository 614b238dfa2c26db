"""Small detectors with random weights that nevertheless find something."""

import copy
import math
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import torch
from jaxtyping import UInt8
from torch import Tensor, nn
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD, SSDHead

from detinv.detectors.base import AbstractDetector
from detinv.detectors.torchvision.common import AbstractTorchvisionDetector
from detinv.detectors.torchvision.fcos import TorchvisionFCOS
from detinv.detectors.torchvision.rcnn import TorchvisionRCNN
from detinv.detectors.torchvision.retinanet import TorchvisionRetinaNet
from detinv.detectors.torchvision.ssd import TorchvisionSSD
from detinv.zoo.backbone import PYRAMID_CHANNELS, TinyPyramid
from detinv.zoo.models import build_fasterrcnn, build_fcos, build_maskrcnn, build_retinanet

Detector = TypeVar("Detector", bound=AbstractDetector)
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


def build_ssd(num_classes: int, image_size: tuple[int, int]) -> SSD:
    """SSD at strides 8, 16, 32 with four or six default boxes a cell."""
    height, width = image_size
    boxes = DefaultBoxGenerator([[2], [2, 3], [2]], scales=[0.15, 0.3, 0.6, 1.0])
    return SSD(
        TinyPyramid((8, 16, 32)),
        boxes,
        (width, height),
        num_classes + 1,
        head=SSDHead([PYRAMID_CHANNELS] * 3, boxes.num_anchors_per_location(), num_classes + 1),
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.25, 0.5],
    )


_BUILDERS = {
    "retinanet": (build_retinanet, TorchvisionRetinaNet),
    "fcos": (build_fcos, TorchvisionFCOS),
    "fasterrcnn": (build_fasterrcnn, TorchvisionRCNN),
    "maskrcnn": (build_maskrcnn, TorchvisionRCNN),
    "ssd": (build_ssd, TorchvisionSSD),
}


def tiny_detector(
    family: str, num_classes: int = 3, image_size: tuple[int, int] = (64, 64), seed: int = 0
) -> AbstractTorchvisionDetector:
    """A frozen detector of `family` whose random weights are large enough that images matter to what it reports.

    Args:
        family: one of `FAMILIES`, or "ssd".
        image_size: (shorter, longer) side, as torchvision's models take it.
        seed: of the weights; torch's global generator is left as it was.
    """
    build, adapter = _BUILDERS[family]
    return adapter(tiny_model(build, num_classes, image_size, seed), [f"class{k}" for k in range(num_classes)])


def tiny_model(build: Callable[..., Any], num_classes: int, image_size: tuple[int, int], seed: int) -> nn.Module:
    """A torchvision model from one of the zoo's builders, with lively random weights."""
    # A third of the time that drawing them takes.
    return copy.deepcopy(_drawn_model(build, num_classes, image_size, seed))


@cache
def _drawn_model(build: Callable[..., Any], num_classes: int, image_size: tuple[int, int], seed: int) -> nn.Module:
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
        if isinstance(model, SSD):
            for layer in model.head.classification_head.module_list:
                _randomise(layer, 1.0, 0.0)
            for layer in model.head.regression_head.module_list:
                _randomise(layer, 1.0, 0.0)
    return model.eval()


def in_float64(detector: Detector) -> Detector:
    """Let every layer of `detector` that adds up many products do so in float64; what goes in and out stays float32.

    In float32 another processor, number of threads or batch changes the last digits of a score, and with
    them which of two nearly equal candidates comes first or suppresses the other. Rounded from float64, outputs are the
    same everywhere.
    """
    for layer in detector.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.ConvTranspose2d):
            layer.double()
            layer.register_forward_pre_hook(lambda _, inputs: (inputs[0].double(),))
            layer.register_forward_hook(lambda _, inputs, output: output.float())
    return detector


def block_image(size: tuple[int, int], seed: int = 0) -> UInt8[Tensor, "3 height width"]:
    """Coloured blocks of 8 pixels under noise: something for coarse and for fine levels."""
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    blocks = torch.rand(3, -(-height // 8), -(-width // 8), generator=generator)
    coarse = blocks.repeat_interleave(8, 1).repeat_interleave(8, 2)[:, :height, :width]
    return ((0.7 * coarse + 0.3 * torch.rand(3, height, width, generator=generator)) * 255).to(torch.uint8)


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
