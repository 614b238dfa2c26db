"""Small DETR-type detectors with random weights that nevertheless find something."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from detinv.detectors.hooks import forward_hooks
from detinv.detectors.load import load_detector
from tests.fakes import block_image

FIXED_QUERIES = (
    "detr_resnet50",
    "table_transformer",
    "conditional_detr_r50",
    "dab_detr_r50",
    "deformable_detr_r50",
    "yolos_tiny",
)
"""Each query is a place of its own in every pass."""
LIKE_RTDETR = ("rtdetr_r18", "rtdetr_v2_r18", "dfine_s")
CHOSEN_QUERIES = (*LIKE_RTDETR, "lw_detr_small", "rf_detr_base")
"""Queries are chosen among tokens, which are predictions, too."""
ARCHITECTURES = (*FIXED_QUERIES, *CHOSEN_QUERIES)

_SMALL_BACKBONE = {
    "embedding_size": 16,
    "hidden_sizes": [16, 32, 32, 48],
    "depths": [1, 1, 1, 1],
    "layer_type": "basic",
}
_SMALL_DETR = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "num_queries": 40,
    "backbone_config": _SMALL_BACKBONE,
}
_SMALL_RTDETR = {
    "d_model": 32,
    "encoder_hidden_dim": 32,
    "encoder_ffn_dim": 64,
    "decoder_layers": 2,
    "decoder_ffn_dim": 64,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "num_queries": 60,
    "encoder_in_channels": [32, 32, 48],
    "decoder_in_channels": [32, 32, 32],
    "backbone_config": _SMALL_BACKBONE,
}
_SMALL_VIT = {"hidden_size": 32, "num_attention_heads": 4, "patch_size": 8, "num_windows": 4}
_SMALL_TWO_STAGE = {
    "d_model": 32,
    "decoder_layers": 2,
    "decoder_ffn_dim": 64,
    "decoder_self_attention_heads": 4,
    "decoder_cross_attention_heads": 4,
    "num_queries": 40,
    "group_detr": 2,
}
SMALL = {
    "detr": _SMALL_DETR,
    "table": _SMALL_DETR,
    "conditional": _SMALL_DETR,
    "dab": {"hidden_size": 32, **{key: value for key, value in _SMALL_DETR.items() if key != "d_model"}},
    "deformable": _SMALL_DETR | {"d_model": 64},  # a group of its normalisation has two channels, for maps of one cell
    "yolos": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "num_detection_tokens": 40,
        "image_size": [48, 64],
        "use_mid_position_embeddings": True,
    },
    "rtdetr": _SMALL_RTDETR,
    "dfine": _SMALL_RTDETR
    | {
        "backbone_config": {
            "hidden_sizes": [16, 32, 32, 48],
            "stem_channels": [3, 8, 16],
            "stage_in_channels": [16, 16, 32, 32],
            "stage_mid_channels": [8, 8, 8, 8],
            "stage_out_channels": [16, 32, 32, 48],
            "stage_num_blocks": [1, 1, 1, 1],
            "stage_numb_of_layers": [1, 1, 1, 1],
        }
    },
    "lw": _SMALL_TWO_STAGE
    | {
        "projector_scale_factors": [1.0, 0.5],
        "backbone_config": _SMALL_VIT
        | {"num_hidden_layers": 2, "window_block_indices": [0], "out_indices": [1, 2], "image_size": 64},
    },
    "rf": _SMALL_TWO_STAGE
    | {
        "backbone_config": _SMALL_VIT | {"num_hidden_layers": 2, "out_features": ["stage1", "stage2"], "image_size": 64}
    },
}
# Spread and bias of what the last layers give: scores on both sides of the threshold, boxes all over the image.
_LAST_LAYERS = {
    "class_labels_classifier": (2.5, 0.0),
    "class_labels_classifier.layers.2": (2.5, 0.0),
    "enc_out_class_embed.0": (2.0, -3.0),
    "enc_out_bbox_embed.0.layers.2": (0.7, 0.0),
    "enc_score_head": (2.0, -3.0),
    "class_embed": (2.0, -3.0),
    "bbox_predictor.layers.2": (1.2, 0.0),
    "enc_bbox_head.layers.2": (0.7, 0.0),
    "bbox_embed": (0.5, 0.0),
}

# Bias of "no object", so that some queries stay below the threshold.
_NO_OBJECT = 3.0


def tiny_transformer(architecture: str, num_classes: int = 5, seed: int = 0, **options: Any) -> Any:
    """A frozen detector whose random weights are large enough that images matter to what it reports.

    Args:
        architecture: one of `ARCHITECTURES`.
        seed: of the weights; torch's global generator is left as it was.
        options: others than the registration has.
    """
    name = architecture.replace("_v2", "")
    defaults = {
        "architecture": architecture,
        "class_names": [f"class{k}" for k in range(num_classes)],
        "image_size": [64, 96],
        "settings": SMALL[architecture.split("_")[0]],
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        detector = load_detector(name, "random", **defaults | options)
    randomise_weights(detector, seed)
    return detector


@torch.no_grad()
def randomise_weights(detector: Any, seed: int = 0) -> None:
    """Draw random weights, in place, under which a detector of any size reports dozens of objects."""
    model = detector.model
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        before = []
        for name, module in model.named_modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
            if "BatchNorm" in type(module).__name__:
                before.append((module, _Settle()))
            if name.endswith(("pos_proj", "content_proj", "sine_proj")):  # of DAB-DETR
                nn.init.xavier_normal_(module.weight, gain=2.0)
            if name.endswith(("q_proj", "k_proj")):
                nn.init.xavier_normal_(module.weight, gain=2.0)
            if name.endswith(("v_proj", "o_proj", "value_proj", "output_proj")):
                nn.init.xavier_normal_(module.weight)
            if name.endswith("sampling_offsets"):
                nn.init.normal_(module.weight, std=0.3)
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight)
            for suffix, (deviation, bias) in _LAST_LAYERS.items():
                if _is(name, suffix) and isinstance(module, nn.Linear):
                    if suffix == "bbox_embed" and model.config.model_type == "dab-detr":
                        # Every layer of its decoder moves boxes by it again, and divides by their sides.
                        nn.init.normal_(module.weight, std=0.5 / math.sqrt(module.in_features))
                        continue
                    nn.init.normal_(module.weight, std=deviation / math.sqrt(module.in_features))
                    nn.init.constant_(module.bias, bias)
                    if suffix.startswith("class_labels_classifier"):
                        if detector.family.activation == "softmax":
                            module.bias[-1] = _NO_OBJECT
                        else:
                            module.bias.fill_(-3.0)
                    before.append((module, _Rescale()))
        height, width = detector.network_size((64, 64))
        images = torch.stack([block_image((height, width), k).float() / 255 for k in range(4)])
        with forward_hooks(before=before):
            detector(images)


def _is(name: str, suffix: str) -> bool:
    """Whether `name` ends in it, or is the last layer of one of several heads of that name."""
    if name.endswith(suffix):
        return True
    parts = name.split(".")
    return suffix in parts and (suffix == "class_embed" or parts[-1] == "2")


class _Settle:
    """Before a normalisation layer runs for the first time: its statistics become those of its input."""

    def __init__(self) -> None:
        self.done = False

    def __call__(self, layer: Any, inputs: tuple[Tensor]) -> None:
        if not self.done:
            layer.running_mean.copy_(inputs[0].mean((0, 2, 3)))
            layer.running_var.copy_(inputs[0].var((0, 2, 3)) + 1e-3)
            nn.init.uniform_(layer.weight, 0.7, 1.3)
            nn.init.uniform_(layer.bias, -0.2, 0.2)
            self.done = True


class _Rescale:
    """Before a last layer runs for the first time: its weight makes up for size and mean of its input."""

    def __init__(self) -> None:
        self.done = False

    def __call__(self, layer: Any, inputs: tuple[Tensor]) -> None:
        if not self.done:
            rows = inputs[0].flatten(0, -2)
            mean = rows.mean(0)
            layer.weight.div_((rows - mean).square().mean().sqrt().clamp(min=1e-6))
            layer.bias.sub_(layer.weight @ mean)
            self.done = True
