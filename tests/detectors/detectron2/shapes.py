"""The bundled detectors of torchvision as Detectron2's models of the same families, with the same weights.

Both libraries compute the same from them, up to rounding. Everything after the raw predictions is Detectron2's own:
thresholds, limits, suppression, and which proposals the second stage receives.
"""

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign

from detinv.detectors.base import AbstractDetector
from detinv.detectors.detectron2.quiet import quiet_import, trigger_first_warnings
from detinv.zoo.backbone import TinyPyramid

with quiet_import():
    from detectron2.layers import ShapeSpec
    from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
    from detectron2.modeling.backbone import Backbone
    from detectron2.modeling.box_regression import Box2BoxTransform
    from detectron2.modeling.matcher import Matcher
    from detectron2.modeling.meta_arch import FCOS, GeneralizedRCNN, RetinaNet
    from detectron2.modeling.meta_arch.fcos import FCOSHead
    from detectron2.modeling.meta_arch.retinanet import RetinaNetHead
    from detectron2.modeling.poolers import ROIPooler
    from detectron2.modeling.proposal_generator import RPN, StandardRPNHead
    from detectron2.modeling.roi_heads import (
        FastRCNNConvFCHead,
        FastRCNNOutputLayers,
        MaskRCNNConvUpsampleHead,
        StandardROIHeads,
    )

    from detinv.detectors.detectron2.common import Preprocessing
    from detinv.detectors.detectron2.fcos import Detectron2FCOS
    from detinv.detectors.detectron2.rcnn import Detectron2RCNN
    from detinv.detectors.detectron2.retinanet import Detectron2RetinaNet


def as_detectron2(detector: Any) -> AbstractDetector:
    """Return a bundled detector of torchvision as Detectron2's, with its weights and the constants of its inference."""
    trigger_first_warnings()
    model, transform = detector.model, detector.model.transform
    build, adapter = {
        detection.RetinaNet: (_retinanet, Detectron2RetinaNet),
        detection.FCOS: (_fcos, Detectron2FCOS),
        detection.FasterRCNN: (_rcnn, Detectron2RCNN),
        detection.MaskRCNN: (_rcnn, Detectron2RCNN),
    }[type(model)]
    normalisation = {
        "pixel_mean": [255 * value for value in transform.image_mean],
        "pixel_std": [255 * value for value in transform.image_std],
    }
    preprocessing = Preprocessing(transform.min_size[0], transform.max_size, "RGB")
    return adapter(build(model, _Pyramid(model.backbone), normalisation), detector.class_names, preprocessing)


class _Pyramid(Backbone):
    """Our pyramid, which returns its levels under Detectron2's names."""

    size_divisibility = 32

    def __init__(self, pyramid: TinyPyramid) -> None:
        super().__init__()
        self.pyramid = pyramid
        self.strides = list(pyramid.strides)
        self.names = [f"p{stride.bit_length() - 1}" for stride in self.strides]
        self.shape = ShapeSpec(channels=pyramid.out_channels)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return dict(zip(self.names, self.pyramid(images).values(), strict=True))

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {
            name: ShapeSpec(channels=self.shape.channels, stride=stride)
            for name, stride in zip(self.names, self.strides, strict=True)
        }

    def anchors(self, generator: AnchorGenerator) -> DefaultAnchorGenerator:
        """Return a generator of the same anchors, in the same order; torchvision rounds their corners."""
        found = DefaultAnchorGenerator(
            sizes=generator.sizes, aspect_ratios=generator.aspect_ratios, strides=self.strides, offset=0.0
        )
        for ours, theirs in zip(found.cell_anchors, generator.cell_anchors, strict=True):
            ours.copy_(theirs)
        return found

    def pooler(self, pooler: MultiScaleRoIAlign) -> ROIPooler:
        """Return Detectron2's pooler of the same regions, whose corners are not shifted by half a pixel."""
        scales = [1 / stride for stride in self.strides]
        return ROIPooler(pooler.output_size, scales, pooler.sampling_ratio, "ROIAlign")


def _retinanet(model: detection.RetinaNet, backbone: _Pyramid, normalisation: dict[str, Any]) -> RetinaNet:
    head = RetinaNetHead(
        input_shape=[backbone.shape] * len(backbone.names),
        num_classes=model.head.classification_head.num_classes,
        num_anchors=model.anchor_generator.num_anchors_per_location()[0],
        conv_dims=[backbone.shape.channels] * 4,
    )
    _load_branches(head, model.head)
    return RetinaNet(
        head=head,
        anchor_generator=backbone.anchors(model.anchor_generator),
        box2box_transform=Box2BoxTransform(model.box_coder.weights),
        anchor_matcher=_matcher(model.proposal_matcher),
        **_one_stage(model, backbone),
        **normalisation,
    )


def _fcos(model: detection.FCOS, backbone: _Pyramid, normalisation: dict[str, Any]) -> FCOS:
    head = FCOSHead(
        input_shape=[backbone.shape] * len(backbone.names),
        num_classes=model.head.classification_head.num_classes,
        conv_dims=[backbone.shape.channels] * 4,
        norm="GN",
    )
    _load_branches(head, model.head)
    _load(head.ctrness, _weights(model.head.regression_head.bbox_ctrness))
    found = FCOS(
        head=head,
        center_sampling_radius=model.center_sampling_radius,
        **_one_stage(model, backbone),
        **normalisation,
    )
    # The bundled weights are of locations at the corner of each cell, and of other units than the stride.
    found.anchor_generator = backbone.anchors(model.anchor_generator)
    return found


def _rcnn(model: detection.FasterRCNN, backbone: _Pyramid, normalisation: dict[str, Any]) -> GeneralizedRCNN:
    return GeneralizedRCNN(
        backbone=backbone,
        proposal_generator=_rpn(model.rpn, backbone),
        roi_heads=_second_stage(model.roi_heads, backbone),
        input_format="RGB",
        **normalisation,
    )


def _rpn(rpn: Any, backbone: _Pyramid) -> RPN:
    head = StandardRPNHead(
        in_channels=backbone.shape.channels, num_anchors=rpn.anchor_generator.num_anchors_per_location()[0]
    )
    _load(head, _weights(rpn.head))
    return RPN(
        in_features=backbone.names,
        head=head,
        anchor_generator=backbone.anchors(rpn.anchor_generator),
        anchor_matcher=_matcher(rpn.proposal_matcher),
        box2box_transform=Box2BoxTransform(rpn.box_coder.weights),
        batch_size_per_image=1,
        positive_fraction=0.5,
        pre_nms_topk=(rpn.pre_nms_top_n(), rpn.pre_nms_top_n()),
        post_nms_topk=(rpn.post_nms_top_n(), rpn.post_nms_top_n()),
        nms_thresh=rpn.nms_thresh,
        min_box_size=rpn.min_size,
    )


def _second_stage(heads: Any, backbone: _Pyramid) -> StandardROIHeads:
    classes, features = heads.box_predictor.cls_score.out_features - 1, heads.box_predictor.cls_score.in_features
    (side, _), channels = heads.box_roi_pool.output_size, backbone.shape.channels
    box_head = FastRCNNConvFCHead(
        ShapeSpec(channels=channels, height=side, width=side), conv_dims=[], fc_dims=[features, features]
    )
    _load(box_head, _weights(heads.box_head))
    predictor = FastRCNNOutputLayers(
        ShapeSpec(channels=features),
        box2box_transform=Box2BoxTransform(heads.box_coder.weights),
        num_classes=classes,
        test_score_thresh=heads.score_thresh,
        test_nms_thresh=heads.nms_thresh,
        test_topk_per_image=heads.detections_per_img,
    )
    # torchvision's background comes first, and has a box.
    scores, boxes = (_weights(part) for part in (heads.box_predictor.cls_score, heads.box_predictor.bbox_pred))
    _load(predictor, [*(value.roll(-1, 0) for value in scores), *(value[4:] for value in boxes)])
    return StandardROIHeads(
        num_classes=classes,
        batch_size_per_image=1,
        positive_fraction=0.5,
        proposal_matcher=_matcher(heads.proposal_matcher),
        box_in_features=backbone.names,
        box_pooler=backbone.pooler(heads.box_roi_pool),
        box_head=box_head,
        box_predictor=predictor,
        **(_masks(heads, backbone, classes) if heads.has_mask() else {}),
    )


def _masks(heads: Any, backbone: _Pyramid, classes: int) -> dict[str, Any]:
    (side, _), channels = heads.mask_roi_pool.output_size, backbone.shape.channels
    widths = [layer[0].out_channels for layer in heads.mask_head]
    head = MaskRCNNConvUpsampleHead(
        ShapeSpec(channels=channels, height=side, width=side),
        num_classes=classes,
        conv_dims=[*widths, heads.mask_predictor.conv5_mask.out_channels],
    )
    *layers, weight, bias = [*_weights(heads.mask_head), *_weights(heads.mask_predictor)]
    _load(head, [*layers, weight[1:], bias[1:]])
    return {
        "mask_in_features": backbone.names,
        "mask_pooler": backbone.pooler(heads.mask_roi_pool),
        "mask_head": head,
    }


def _one_stage(model: Any, backbone: _Pyramid) -> dict[str, Any]:
    return {
        "backbone": backbone,
        "head_in_features": backbone.names,
        "num_classes": model.head.classification_head.num_classes,
        "test_score_thresh": model.score_thresh,
        "test_nms_thresh": model.nms_thresh,
        "test_topk_candidates": model.topk_candidates,
        "max_detections_per_image": model.detections_per_img,
    }


def _load_branches(head: RetinaNetHead, source: Any) -> None:
    classes, boxes = source.classification_head, source.regression_head
    _load(head.cls_subnet, _weights(classes.conv))
    _load(head.cls_score, _weights(classes.cls_logits))
    _load(head.bbox_subnet, _weights(boxes.conv))
    _load(head.bbox_pred, _weights(boxes.bbox_reg))


def _matcher(matcher: Any) -> Matcher:
    """Return what training would match with; inference does not."""
    return Matcher([matcher.low_threshold, matcher.high_threshold], [0, -1, 1], matcher.allow_low_quality_matches)


def _weights(module: nn.Module) -> list[Tensor]:
    return list(module.state_dict().values())


def _load(module: nn.Module, values: Iterable[Tensor]) -> None:
    """Load weights that are in the module's order; the libraries name them differently."""
    module.load_state_dict(dict(zip(module.state_dict(), values, strict=True)))
