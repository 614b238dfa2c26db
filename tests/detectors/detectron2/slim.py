"""Slim models of Detectron2 with random weights that nevertheless find something; skips where it is not installed."""

import warnings

import pytest
import torch
from torch import nn

from detinv.detectors.hooks import forward_hooks

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what torch says about how Detectron2 is made
    pytest.importorskip(
        "detectron2.modeling",
        reason="needs Detectron2, which is not on the package index: "
        "https://detectron2.readthedocs.io/en/latest/tutorials/install.html",
    )
    from detectron2.layers import FrozenBatchNorm2d

    from detinv.detectors.detectron2.library import ZOO
    from detinv.detectors.detectron2.load import load_detectron2

NAMES = ("a", "b", "c", "d")
BASES = {
    "retinanet": "COCO-Detection/retinanet_R_50_FPN_1x.yaml",
    "fasterrcnn": "COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml",
    "maskrcnn": "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml",
}
# The same models, slim and with four classes.
YAML = """\
_BASE_: {base}
MODEL:
  RESNETS: {{DEPTH: 18, RES2_OUT_CHANNELS: 64}}
  FPN: {{OUT_CHANNELS: 32}}
  RETINANET: {{NUM_CLASSES: 4, NUM_CONVS: 2}}
  ROI_HEADS: {{NUM_CLASSES: 4}}
  ROI_BOX_HEAD: {{FC_DIM: 64}}
  ROI_MASK_HEAD: {{CONV_DIM: 16, NUM_CONV: 1}}
INPUT: {{MIN_SIZE_TEST: 96, MAX_SIZE_TEST: 128}}
"""
_LAZY = """\
from detectron2.config import LazyConfig
from detectron2.layers import ShapeSpec

_whole = LazyConfig.load({base!r})
model, dataloader = _whole.model, _whole.dataloader
model.num_classes = 4
model.backbone.bottom_up.stages.depth = 18
del model.backbone.bottom_up.stages.stride_in_1x1
model.backbone.out_channels = model.backbone.top_block.in_channels = 64
model.head.input_shape = [ShapeSpec(channels=64)] * 5
model.head.conv_dims = [64, 64]
dataloader.test.mapper.augmentations[0].update(short_edge_length=96, max_size=128)
"""
# Spread and mean of what the last layers give: scores on both sides of the thresholds, boxes around their anchors.
_FINAL_LAYERS = {
    "objectness_logits": (2.0, 0.0),
    "anchor_deltas": (0.2, 0.0),
    "cls_score": (1.5, -1.0),
    "bbox_pred": (0.5, 0.0),
    "ctrness": (1.0, 1.0),
    "predictor": (1.0, 0.0),
}


def configuration(folder, family, more=""):
    """Path of a slim configuration of `family`; `more` is added to its end."""
    if family == "fcos":
        path = folder / "fcos.py"
        path.write_text(_LAZY.format(base=str(ZOO / "COCO-Detection/fcos_R_50_FPN_1x.py")) + more)
    else:
        path = folder / f"{family}.yaml"
        path.write_text(YAML.format(base=ZOO / BASES[family]) + more)
    return str(path)


def slim_detector(folder, family, more=""):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        detector = load_detectron2(configuration(folder, family, more), NAMES, weights="random")
        randomise_weights(detector.model)
    return detector


@torch.no_grad()
def randomise_weights(model):
    """Draw random weights, scaled in a pass over an image such that the predictions depend on the image."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight)
    before, after = [], []
    for name, module in model.named_modules():
        last = name.rsplit(".", 1)[-1]
        if isinstance(module, FrozenBatchNorm2d):
            before.append((module, settle))
        elif last in _FINAL_LAYERS and hasattr(module, "weight"):
            # FCOS's distances, in units of the stride; a few are below zero.
            spread, mean = (
                (1.0, 1.5) if name == "head.bbox_pred" and hasattr(model.head, "ctrness") else _FINAL_LAYERS[last]
            )
            after.append((module, scale(spread, mean)))
    with forward_hooks(after, before):
        model.eval()([{"image": random_image((96, 128), seed=100).float()}])


def settle(norm, inputs):
    norm.running_mean.copy_(inputs[0].mean((0, 2, 3)))
    norm.running_var.copy_(inputs[0].var((0, 2, 3)))


def scale(spread, mean):
    """A hook that gives every column of a layer's first output this spread and mean."""
    seen = []

    def hook(layer, inputs, output):
        if not seen:
            seen.append(True)
            columns = output.transpose(0, 1).flatten(1)
            factor = spread / columns.std(1)
            layer.weight *= factor.view(-1, *[1] * (layer.weight.ndim - 1))
            layer.bias.copy_(factor * (layer.bias - columns.mean(1)) + mean)
        return layer.forward(*inputs)

    return hook


def random_image(size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 6, 6, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size, mode="bilinear")[0]
    noise = torch.rand(3, *size, generator=generator)
    return (255 * (0.7 * smooth + 0.3 * noise)).to(torch.uint8)
