"""What is known about each type of model of transformers: names, scoring, limits, and the architectures to build."""

from dataclasses import dataclass
from typing import Any, Literal

_ADAPTERS = "detinv.detectors.transformers"
_MAP_AND_TOKENS = ("model.model.input_projection", "model.model.encoder")


@dataclass(frozen=True)
class Family:
    """One type of model.

    Args:
        model: class of the model.
        processor: class of its image processor, whose post-processing the rest of this describes.
        adapter: dotted path of ours.
        activation: how logits become scores: a sigmoid for each class, or a softmax whose last column is "no object".
        limit: most detections of an image: a number, or the entry of the model's configuration that has it.
        backbone: dotted path of the backbone inside the adapter; None if there are no stages of several strides.
        attended: dotted paths, with wildcards, of the modules that return what queries attend to.
        side: height and width of the network's input for random weights; None for the image processor's own default.
        photographs: whether photographs are what the published weights know.
    """

    model: str
    processor: str
    adapter: str = f"{_ADAPTERS}.queries.TransformersQueries"
    activation: Literal["sigmoid", "softmax"] = "sigmoid"
    limit: int | str = "num_queries"
    backbone: str | None = "model.model.backbone"
    attended: tuple[str, ...] = _MAP_AND_TOKENS
    side: int | None = None
    photographs: bool = True


_RTDETR = f"{_ADAPTERS}.rtdetr.TransformersRTDETR"
_RTDETR_ENCODER = ("model.model.encoder",)
_TWO_STAGE = f"{_ADAPTERS}.two_stage.TransformersTwoStage"
_PROJECTOR = ("model.model.backbone.projector",)
FAMILIES = {
    "detr": Family(
        "DetrForObjectDetection", "DetrImageProcessor", f"{_ADAPTERS}.detr.TransformersDETR", activation="softmax"
    ),
    "table-transformer": Family(
        "TableTransformerForObjectDetection", "DetrImageProcessor", activation="softmax", photographs=False
    ),
    "conditional_detr": Family("ConditionalDetrForObjectDetection", "ConditionalDetrImageProcessor", limit=100),
    "dab-detr": Family("DabDetrForObjectDetection", "ConditionalDetrImageProcessor", limit=100),
    "deformable_detr": Family(
        "DeformableDetrForObjectDetection",
        "DeformableDetrImageProcessor",
        limit=100,
        attended=("model.model.input_proj.?",),
    ),
    "yolos": Family(
        "YolosForObjectDetection",
        "YolosImageProcessor",
        activation="softmax",
        limit="num_detection_tokens",
        backbone=None,
        attended=("model.vit.embeddings.patch_embeddings.projection",),
    ),
    "rt_detr": Family("RTDetrForObjectDetection", "RTDetrImageProcessor", _RTDETR, attended=_RTDETR_ENCODER),
    "rt_detr_v2": Family("RTDetrV2ForObjectDetection", "RTDetrImageProcessor", _RTDETR, attended=_RTDETR_ENCODER),
    "d_fine": Family("DFineForObjectDetection", "RTDetrImageProcessor", _RTDETR, attended=_RTDETR_ENCODER),
    "lw_detr": Family(
        "LwDetrForObjectDetection",
        "DeformableDetrImageProcessor",
        _TWO_STAGE,
        limit=100,
        backbone=None,
        attended=_PROJECTOR,
        side=640,
    ),
    "rf_detr": Family(
        "RfDetrForObjectDetection",
        "RfDetrImageProcessor",
        _TWO_STAGE,
        backbone=None,
        attended=_PROJECTOR,
        side=560,
    ),
}
"""Families by the library's `model_type`."""


def _resnet(model_type: str, depths: list[int], layer_type: str, stages: list[str]) -> dict[str, Any]:
    widths = [64, 128, 256, 512] if layer_type == "basic" else [256, 512, 1024, 2048]
    return {
        "model_type": model_type,
        "depths": depths,
        "hidden_sizes": widths,
        "layer_type": layer_type,
        "out_features": stages,
    }


_LAST_THREE = ["stage2", "stage3", "stage4"]
_RESNET50 = _resnet("resnet", [3, 4, 6, 3], "bottleneck", ["stage4"])
_RTDETR_R18 = {
    "backbone_config": _resnet("rt_detr_resnet", [2, 2, 2, 2], "basic", _LAST_THREE),
    "encoder_in_channels": [128, 256, 512],
    "hidden_expansion": 0.5,
    "decoder_layers": 3,
}
_RTDETR_R50 = {"backbone_config": _resnet("rt_detr_resnet", [3, 4, 6, 3], "bottleneck", _LAST_THREE)}
_DFINE_S = {
    "backbone_config": {
        "model_type": "hgnet_v2",
        "hidden_sizes": [128, 256, 512, 1024],
        "stem_channels": [3, 16, 16],
        "stage_in_channels": [16, 64, 256, 512],
        "stage_mid_channels": [16, 32, 64, 128],
        "stage_out_channels": [64, 256, 512, 1024],
        "stage_num_blocks": [1, 1, 2, 1],
        "stage_numb_of_layers": [3, 3, 3, 3],
        "use_learnable_affine_block": True,
        "out_indices": [2, 3, 4],
    },
    "encoder_in_channels": [256, 512, 1024],
    "decoder_n_points": [3, 6, 3],
    "decoder_layers": 3,
    "hidden_expansion": 0.5,
    "depth_mult": 0.34,
}
_YOLOS_TINY = {
    "hidden_size": 192,
    "num_attention_heads": 3,
    "intermediate_size": 768,
    "image_size": [800, 1333],
    "use_mid_position_embeddings": False,
}
_TABLE = {"backbone_config": _resnet("resnet", [2, 2, 2, 2], "basic", ["stage4"]), "num_queries": 15}
_LWDETR_SMALL = {
    "backbone_config": {
        "model_type": "lw_detr_vit",
        "image_size": 1024,
        "hidden_size": 192,
        "num_hidden_layers": 10,
        "window_block_indices": [0, 1, 3, 6, 7, 9],
        "out_indices": [2, 4, 5, 9],
    },
    "projector_scale_factors": [1.0],
    "decoder_n_points": 2,
}
_RFDETR_BASE = {
    "backbone_config": {
        "model_type": "rf_detr_dinov2",
        "image_size": 518,
        "hidden_size": 384,
        "num_attention_heads": 6,
        "num_register_tokens": 0,
        "out_features": ["stage2", "stage5", "stage8", "stage11"],
    }
}
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "detr_resnet50": ("detr", {"backbone_config": _RESNET50}),
    "detr_resnet101": ("detr", {"backbone_config": _resnet("resnet", [3, 4, 23, 3], "bottleneck", ["stage4"])}),
    "table_transformer": ("table-transformer", _TABLE),
    "conditional_detr_r50": ("conditional_detr", {"backbone_config": _RESNET50}),
    "dab_detr_r50": ("dab-detr", {"backbone_config": _RESNET50}),
    "deformable_detr_r50": (
        "deformable_detr",
        {"backbone_config": _resnet("resnet", [3, 4, 6, 3], "bottleneck", _LAST_THREE)},
    ),
    "yolos_tiny": ("yolos", _YOLOS_TINY),
    "rtdetr_r18": ("rt_detr", _RTDETR_R18),
    "rtdetr_r50": ("rt_detr", _RTDETR_R50),
    "rtdetr_v2_r18": ("rt_detr_v2", _RTDETR_R18),
    "rtdetr_v2_r50": ("rt_detr_v2", _RTDETR_R50),
    "dfine_s": ("d_fine", _DFINE_S),
    "lw_detr_small": ("lw_detr", _LWDETR_SMALL),
    "rf_detr_base": ("rf_detr", _RFDETR_BASE),
}
"""Architectures that can be built without weights: the library's `model_type`, and the entries of its configuration
that differ from the library's defaults."""
