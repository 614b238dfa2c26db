"""Random weights under which torchvision's detection models respond to images much as trained ones do.

With the library's own initial values, activations of deep networks vanish or explode where running statistics would
keep them in bounds once trained: such a model reports nothing, or the same for every image.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet
from torchvision.models.detection.ssd import SSD
from torchvision.ops import FrozenBatchNorm2d

from detinv.detectors.hooks import ForwardPreHook, forward_hooks

# Standard deviation and mean of the last layers' outputs, so that scores lie on both sides of the thresholds.
_LAST_LAYERS = {
    "cls_logits": (1.0, -1.0),
    "bbox_ctrness": (1.0, 1.0),
    "bbox_reg": (0.2, 0.0),
    "bbox_pred": (0.2, 0.0),
    "cls_score": (1.5, 0.0),
    "mask_fcn_logits": (1.0, 0.0),
}
_SSD_CLASS, _SSD_BOX = (1.0, 0.0), (1.0, 0.0)
# Of many pairs of row and class, few pass the threshold.
_RETINANET = {"cls_logits": (1.0, -5.5)}
# A few of the distances, in anchor sides, are below zero.
_FCOS = {"cls_logits": (1.0, -5.0), "bbox_reg": (1.0, 1.0)}
# Logit of a column that no training image ever used.
_DEAD_LOGIT = -20.0
_LEAST_VARIANCE = 1e-3
# Number of images on which statistics are measured, their side in pixels and that of the coarse blocks in them.
_IMAGES, _SIDE, _BLOCK = 8, 128, 8


@torch.no_grad()
def randomise_weights(model: Any, dead: Sequence[int] = (), seed: int = 0, side: int = _SIDE) -> None:
    """Draw random weights, in place; the same every time.

    Normalisation layers, frozen or not, and the last layers are scaled to the first input that each of them receives
    when the model is run on fine and coarse blocks of noise.

    Args:
        model: RetinaNet, FCOS, Faster R-CNN, Mask R-CNN or SSD.
        dead: columns of the class logits that stay low for every image, as those of unused categories do once trained.
        seed: torch's global generator is left as it was.
        side: of the noise, in pixels.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        before: list[tuple[nn.Module, ForwardPreHook]] = []
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.BatchNorm2d | FrozenBatchNorm2d):
                before.append((module, _Settle()))
        before += [(layer, _Spread(deviation, mean)) for layer, deviation, mean in _last_layers(model)]
        model.eval()
        blocks = torch.randn(_IMAGES, 3, side // _BLOCK, side // _BLOCK)
        with forward_hooks(before=before):
            _run(model, F.interpolate(blocks, side) + 0.5 * torch.randn(_IMAGES, 3, side, side))
    for layer, columns in class_layers(model):
        layer.weight.unflatten(0, (-1, columns))[:, list(dead)] = 0
        layer.bias.unflatten(0, (-1, columns))[:, list(dead)] = _DEAD_LOGIT


def class_layers(model: Any) -> list[tuple[Any, int]]:
    """Return the layers that compute the class logits, with their number of columns; rows are anchors, then columns."""
    if isinstance(model, FasterRCNN):
        layer = model.roi_heads.box_predictor.cls_score
        return [(layer, layer.out_features)]
    head = model.head.classification_head
    if isinstance(model, SSD):
        return [(_end(branch), head.num_columns) for branch in head.module_list]
    return [(head.cls_logits, head.num_classes)]


class _Settle:
    """Sets the statistics of a normalisation layer to the scale of its first input.

    There is one scale for all channels, and nothing is subtracted: centring each channel would amplify, from layer to
    layer, the small differences between two inputs, and rounding errors with them.

    Source: Mishkin and Matas 2016, "All you need is a good init".
    """

    def __init__(self) -> None:
        self.done = False

    def __call__(self, layer: Any, inputs: tuple[Tensor]) -> None:
        if not self.done:
            layer.running_mean.copy_(inputs[0].mean((0, 2, 3)))
            layer.running_mean.zero_()
            layer.running_var.fill_(inputs[0].square().mean() + _LEAST_VARIANCE)
            nn.init.uniform_(layer.weight, 0.7, 1.3)
            nn.init.uniform_(layer.bias, -0.2, 0.2)
            self.done = True


class _Spread:
    """Gives each output of a last layer this mean and standard deviation, measured on its first input."""

    def __init__(self, deviation: float, mean: float) -> None:
        self.deviation, self.mean = deviation, mean
        self.done = False

    def __call__(self, layer: Any, inputs: tuple[Tensor]) -> None:
        if not self.done:
            output = layer.forward(inputs[0]).transpose(0, 1).flatten(1)
            spread = output.std(1)
            factor = self.deviation / spread.clamp(min=0.3 * spread.mean())
            layer.bias.copy_(self.mean - factor * output.mean(1))
            layer.weight.mul_(factor.view(-1, *[1] * (layer.weight.ndim - 1)))
            self.done = True


def _last_layers(model: Any) -> list[tuple[Any, float, float]]:
    """Return layers whose outputs are raw predictions, with the standard deviation and mean they should have."""
    if isinstance(model, SSD):
        boxes = [_end(branch) for branch in model.head.regression_head.module_list]
        return [(layer, *_SSD_CLASS) for layer, _ in class_layers(model)] + [(layer, *_SSD_BOX) for layer in boxes]
    wanted = _LAST_LAYERS | (_RETINANET if isinstance(model, RetinaNet) else {})
    wanted |= _FCOS if isinstance(model, FCOS) else {}
    named = [(name.rsplit(".", 1)[-1], module) for name, module in model.named_modules()]
    return [(module, *wanted[name]) for name, module in named if name in wanted]


def _end(branch: Any) -> Any:
    """Return the last layer of an SSD head's branch: in SSDLite a branch is a block of layers."""
    return branch[-1] if isinstance(branch, nn.Sequential) else branch


def _run(model: Any, inputs: Tensor) -> None:
    """Run every layer once on `inputs`, second stages at boxes of several sizes."""
    features = model.backbone(inputs)
    if not isinstance(model, FasterRCNN):
        model.head(list(features.values()))
        return
    model.rpn.head(list(features.values()))
    side = inputs.shape[-1]
    corners = torch.rand(len(inputs), 16, 2) * side / 2
    regions = list(torch.cat([corners, corners + side / 16 + torch.rand(len(inputs), 16, 2) * side / 2], dim=2))
    heads, sizes = model.roi_heads, [(side, side)] * len(inputs)
    heads.box_predictor(heads.box_head(heads.box_roi_pool(features, regions, sizes)))
    if heads.has_mask():
        few = [boxes[:2] for boxes in regions]
        heads.mask_predictor(heads.mask_head(heads.mask_roi_pool(features, few, sizes)))
