"""Faster and Mask R-CNN of Detectron2."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from detectron2.modeling.meta_arch import GeneralizedRCNN
from detectron2.modeling.poolers import assign_boxes_to_levels
from detectron2.modeling.proposal_generator import RPN
from detectron2.modeling.roi_heads import BaseMaskRCNNHead, FastRCNNOutputLayers, StandardROIHeads
from detectron2.structures import Boxes
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from detinv.detectors.canvas import whole_canvas
from detinv.detectors.detectron2.common import (
    AbstractDetectron2Detector,
    AnchorCache,
    Preprocessing,
    boxes_of,
    delta_codec,
    unsupported,
)
from detinv.detectors.detectron2.pooling import LevelPooler
from detinv.detectors.feature_layers import FeatureLayer, HeadName
from detinv.detectors.heads.anchors import flatten_rows
from detinv.detectors.heads.assigners import AnchorAssigner
from detinv.detectors.heads.predictions import DensePredictions, PostProcessing, Predictions, RoIPredictions
from detinv.detectors.heads.proposals import Proposals, propose
from detinv.detectors.probing import ModuleOutput, region_layers
from detinv.detectors.regions import Regions
from detinv.errors import DetectorError
from detinv.layouts.batch import size_limits
from detinv.types import Pixels

# What is computed for each region, for proposals and given regions or, of masks, for the given ones alone.
_REGION_LAYERS = {
    "roi": "model.roi_heads.box_pooler",
    "roi_head": "model.roi_heads.box_head",
    "mask_roi": "model.roi_heads.mask_pooler",
    "mask_head": "model.roi_heads.mask_head.deconv_relu",
}


class Detectron2RCNN(AbstractDetectron2Detector):
    """A region proposal network and a second stage, with masks where the model has them.

    Boxes and masks that the model predicts once for all classes are repeated for each class.

    Args:
        model: Faster or Mask R-CNN with its weights; it will be frozen.
        class_names: of the classes 0 ... K-1.
        preprocessing: of images before the model.

    Raises:
        DetectorError: for parts that are not supported, such as other proposals, cascades, C4 heads and keypoints.
    """

    def __init__(self, model: GeneralizedRCNN, class_names: Sequence[str], preprocessing: Preprocessing) -> None:
        if part := _unsupported_part(model):
            raise unsupported(part)
        rpn, heads = model.proposal_generator, model.roi_heads
        predictor = heads.box_predictor
        candidates = rpn.post_nms_topk[False] * heads.num_classes
        # A negative limit means that there is none.
        limit = predictor.test_topk_per_image if predictor.test_topk_per_image >= 0 else candidates
        super().__init__(model, class_names, heads.num_classes, limit, preprocessing)
        # The matcher encloses its own thresholds between two infinite ones.
        low, high = rpn.anchor_matcher.thresholds[1], rpn.anchor_matcher.thresholds[-2]
        self._anchors = AnchorCache(
            rpn.anchor_generator,
            delta_codec(rpn.box2box_transform),
            AnchorAssigner(high, low, high),
            PostProcessing(
                0.0,
                rpn.nms_thresh,
                rpn.pre_nms_topk[False],
                rpn.post_nms_topk[False],
                min_size=_next_larger(rpn.min_box_size),
                suppress_per="level",
            ),
        )
        self._roi_codec = delta_codec(predictor.box2box_transform)
        # The second stage has no limit before suppression: all classes of all proposals are candidates.
        self._roi_post = PostProcessing(
            predictor.test_score_thresh, predictor.test_nms_thresh, candidates, limit, drop_empty=True
        )

    @property
    def has_masks(self) -> bool:
        """Whether the model is a Mask R-CNN."""
        return bool(self.model.roi_heads.mask_on)

    def avoid_waits(self) -> None:
        """Pool regions without sorting them by level."""
        heads = self.model.roi_heads
        for name in ("box_pooler", "mask_pooler"):
            if LevelPooler.suits(pooler := getattr(heads, name, None)):
                setattr(heads, name, LevelPooler(pooler))

    def _level_names(self, head: HeadName) -> Sequence[str]:
        if head == "encoder":
            raise DetectorError(f"{type(self).__name__} has no head {head!r}")
        return self.model.proposal_generator.in_features if head == "dense" else self.model.roi_heads.box_in_features

    def _find_layers(self, outputs: Sequence[ModuleOutput], predictions: Predictions) -> Iterable[FeatureLayer]:
        """Stages and levels, then what the second stage pools of each region and what its heads make of it."""
        return [*super()._find_layers(outputs, predictions), *region_layers(outputs, _REGION_LAYERS)]

    def forward(
        self,
        pixels: Pixels,
        image_sizes: Sequence[tuple[int, int]] | None = None,
        regions: Regions | None = None,
    ) -> Predictions:
        """Return raw predictions of both stages; the second at its proposals, unless left out, and `regions`."""
        features = self.model.backbone(self._inputs(pixels))
        rpn = self.model.proposal_generator
        levels = [features[name] for name in rpn.in_features]
        objectness, deltas = rpn.rpn_head(levels)
        dense = DensePredictions(
            flatten_rows(objectness, 1), flatten_rows(deltas, 4), self._anchors.head(pixels, levels)
        )
        sizes = whole_canvas(pixels) if image_sizes is None else image_sizes
        limits = size_limits(tuple((height, width) for height, width in sizes), pixels.device)
        regions = Regions.none(pixels) if regions is None else regions
        if regions.alone:
            proposals = Proposals.none(pixels)
        else:
            with torch.autocast(pixels.device.type, enabled=False):
                proposals = propose(dense.detach(), limits, by_logit=True)
        given = regions.boxes.detach().float()
        roi = self._second_stage(
            features,
            torch.cat([proposals.boxes, given], dim=1),
            torch.cat([proposals.valid, regions.valid], dim=1),
            given,
        )
        return Predictions(dense, replace(roi, sources=proposals.rows))

    def _second_stage(
        self,
        features: dict[str, Tensor],
        rois: Float[Tensor, "batch roi 4"],
        valid: Bool[Tensor, "batch roi"],
        given: Float[Tensor, "batch object 4"],
    ) -> RoIPredictions:
        heads = self.model.roi_heads
        pooled = _pool(heads.box_pooler, [features[name] for name in heads.box_in_features], rois)
        # The columns are ours already: classes in order, then background.
        logits, deltas = heads.box_predictor(heads.box_head(pooled))
        return RoIPredictions(
            rois,
            valid,
            logits.float().unflatten(0, rois.shape[:2]),
            deltas.float().unflatten(1, (-1, 4)).expand(-1, heads.num_classes, -1).unflatten(0, rois.shape[:2]),
            self._roi_codec,
            _pooled_levels(heads.box_pooler, rois),
            given.shape[1],
            self._roi_post,
            self._masks(features, given) if self.has_masks else None,
        )

    def _masks(
        self, features: dict[str, Tensor], given: Float[Tensor, "batch object 4"]
    ) -> Float[Tensor, "batch object class side side"]:
        heads = self.model.roi_heads
        pooled = _pool(heads.mask_pooler, [features[name] for name in heads.mask_in_features], given)
        logits = heads.mask_head.layers(pooled).float()
        return logits.expand(-1, heads.num_classes, -1, -1).unflatten(0, given.shape[:2])


def _next_larger(size: float) -> float:
    """Return the number after `size`: Detectron2 keeps sides above its limit, `propose` sides at or above."""
    return torch.nextafter(torch.tensor(float(size)), torch.tensor(math.inf)).item()


def _pool(pooler: Any, features: list[Tensor], rois: Float[Tensor, "batch roi 4"]) -> Float[Tensor, "rows _ side side"]:
    """Pool all regions in fp32, as Detectron2 rounds the regions' corners to the precision of the features."""
    with torch.autocast(rois.device.type, enabled=False):
        return pooler([feature.float() for feature in features], boxes_of(rois))


def _pooled_levels(pooler: Any, rois: Float[Tensor, "batch roi 4"]) -> Int64[Tensor, "batch roi"]:
    """Return the level from which the box pooler takes each region."""
    levels = assign_boxes_to_levels(
        [Boxes(rois.flatten(0, 1))],
        pooler.min_level,
        pooler.max_level,
        pooler.canonical_box_size,
        pooler.canonical_level,
    )
    return levels.unflatten(0, rois.shape[:2])


def _unsupported_part(model: GeneralizedRCNN) -> str:
    """Return the part of the model that the adapter does not support; empty if it supports all.

    Types are compared exactly, as subclasses, such as cascades, have an inference of their own.
    """
    rpn, heads = model.proposal_generator, model.roi_heads
    if type(rpn) is not RPN:
        return f"proposals from {type(rpn).__name__}"
    if type(heads) is not StandardROIHeads:
        return f"a second stage of type {type(heads).__name__}"
    if heads.keypoint_on:
        return "keypoints"
    if type(heads.box_predictor) is not FastRCNNOutputLayers:
        return f"boxes from {type(heads.box_predictor).__name__}"
    if heads.box_predictor.use_sigmoid_ce:
        return "sigmoids in its second stage"
    if heads.mask_on and (heads.mask_pooler is None or not isinstance(heads.mask_head, BaseMaskRCNNHead)):
        return f"masks from {type(heads.mask_head).__name__}"
    return ""
