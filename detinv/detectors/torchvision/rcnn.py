"""Faster and Mask R-CNN of torchvision."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torchvision.models.detection import FasterRCNN

from detinv.detectors.canvas import whole_canvas
from detinv.detectors.feature_layers import FeatureLayer, HeadName
from detinv.detectors.heads.anchors import flatten_rows
from detinv.detectors.heads.assigners import AnchorAssigner
from detinv.detectors.heads.codec import DeltaCodec
from detinv.detectors.heads.predictions import DensePredictions, PostProcessing, Predictions, RoIPredictions
from detinv.detectors.heads.proposals import Proposals, propose
from detinv.detectors.probing import ModuleOutput, region_layers
from detinv.detectors.regions import Regions
from detinv.detectors.torchvision.common import AbstractTorchvisionDetector, AnchorCache
from detinv.layouts.batch import size_limits
from detinv.types import Pixels

# Smallest side of a detection, in pixels; hard-coded in the library's second stage.
_MIN_SIZE = 1e-2
# What is computed for each region, for proposals and given regions or, of masks, for the given ones alone.
_REGION_LAYERS = {
    "roi": "model.roi_heads.box_roi_pool",
    "roi_head": "model.roi_heads.box_head",
    "mask_roi": "model.roi_heads.mask_roi_pool",
    "mask_head": "model.roi_heads.mask_head",
}


class TorchvisionRCNN(AbstractTorchvisionDetector):
    """A region proposal network and a second stage, with masks where the model has them.

    The model's poolers infer the strides of their levels from the first images they receive, and an elongated image
    would mislead them for good. They receive a square one here, so that no result depends on the first image.

    Args:
        model: `FasterRCNN` or `MaskRCNN` with its weights; it will be frozen.
        class_names: of the classes 0 ... K-1.
        columns: the model's column of each class; by default all but column 0, the background, in order.
    """

    def __init__(self, model: FasterRCNN, class_names: Sequence[str], columns: Sequence[int] | None = None) -> None:
        rpn, roi_heads = model.rpn, model.roi_heads
        total = roi_heads.box_predictor.cls_score.out_features
        super().__init__(
            model,
            class_names,
            range(1, total) if columns is None else columns,
            total,
            roi_heads.detections_per_img,
        )
        proposals = rpn.post_nms_top_n()
        matcher = rpn.proposal_matcher
        self._anchors = AnchorCache(
            rpn.anchor_generator,
            DeltaCodec(rpn.box_coder.weights),
            AnchorAssigner(matcher.high_threshold, matcher.low_threshold, matcher.high_threshold),
            PostProcessing(
                rpn.score_thresh,
                rpn.nms_thresh,
                rpn.pre_nms_top_n(),
                proposals,
                min_size=rpn.min_size,
                suppress_per="level",
            ),
        )
        self._roi_codec = DeltaCodec(tuple(roi_heads.box_coder.weights))
        # The second stage has no limit before suppression: all classes of all proposals are candidates.
        self._roi_post = PostProcessing(
            roi_heads.score_thresh,
            roi_heads.nms_thresh,
            proposals * len(self.columns),
            roi_heads.detections_per_img,
            min_size=_MIN_SIZE,
        )
        self._infer_strides()

    @property
    def has_masks(self) -> bool:
        """Whether the model is a Mask R-CNN."""
        return bool(self.model.roi_heads.has_mask())

    def level_layers(self, head: HeadName = "dense") -> tuple[FeatureLayer, ...]:
        """Return the layer that each level of a head receives: of the proposal head all, of the second stage some."""
        if head != "roi":
            return super().level_layers(head)
        names = self.model.roi_heads.box_roi_pool.featmap_names
        return tuple(layer for layer in super().level_layers() if (layer.output or "0") in names)

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
        inputs = self._inputs(pixels)
        features = self._features(inputs)
        levels = list(features.values())
        objectness, deltas = self.model.rpn.head(levels)
        dense = DensePredictions(
            flatten_rows(objectness, 1), flatten_rows(deltas, 4), self._anchors.head(inputs, levels)
        )
        sizes = whole_canvas(pixels) if image_sizes is None else image_sizes
        limits = size_limits(tuple((height, width) for height, width in sizes), inputs.device)
        regions = Regions.none(pixels) if regions is None else regions
        if regions.alone:
            proposals = Proposals.none(pixels)
        else:
            with torch.autocast(inputs.device.type, enabled=False):
                proposals = propose(dense.detach(), limits)
        given = regions.boxes.detach().float()
        roi = self._second_stage(
            features,
            torch.cat([proposals.boxes, given], dim=1),
            torch.cat([proposals.valid, regions.valid], dim=1),
            given,
            (inputs.shape[2], inputs.shape[3]),
        )
        return Predictions(dense, replace(roi, sources=proposals.rows))

    def _second_stage(
        self,
        features: "OrderedDict[str, Tensor]",
        rois: Float[Tensor, "batch roi 4"],
        valid: Bool[Tensor, "batch roi"],
        given: Float[Tensor, "batch object 4"],
        canvas_size: tuple[int, int],
    ) -> RoIPredictions:
        heads = self.model.roi_heads
        pooled = heads.box_roi_pool(features, list(rois.unbind(0)), [canvas_size] * len(rois))
        logits, deltas = heads.box_predictor(heads.box_head(pooled))
        return RoIPredictions(
            rois,
            valid,
            self._background_last(logits.float()).unflatten(0, rois.shape[:2]),
            deltas.float().unflatten(1, (-1, 4)).index_select(1, self._columns).unflatten(0, rois.shape[:2]),
            self._roi_codec,
            self._pooled_levels(rois),
            given.shape[1],
            self._roi_post,
            self._masks(features, given, canvas_size) if self.has_masks else None,
        )

    def _masks(
        self, features: "OrderedDict[str, Tensor]", given: Float[Tensor, "batch object 4"], canvas_size: tuple[int, int]
    ) -> Float[Tensor, "batch object class side side"]:
        heads = self.model.roi_heads
        pooled = heads.mask_roi_pool(features, list(given.unbind(0)), [canvas_size] * len(given))
        logits = heads.mask_predictor(heads.mask_head(pooled))
        return logits.float().index_select(1, self._columns).unflatten(0, given.shape[:2])

    def _pooled_levels(self, rois: Float[Tensor, "batch roi 4"]) -> Int64[Tensor, "batch roi"]:
        """Return the level from which the box pooler takes each region."""
        pooler = self.model.roi_heads.box_roi_pool
        if len(pooler.scales) == 1:
            return torch.zeros(rois.shape[:2], dtype=torch.int64, device=rois.device)
        return pooler.map_levels([rois.flatten(0, 1)]).unflatten(0, rois.shape[:2])

    @torch.no_grad()
    def _infer_strides(self) -> None:
        side = 4 * self.size_divisor
        features = self._features(self.pixel_mean.new_zeros(1, 3, side, side))
        boxes = self.pixel_mean.new_tensor([[0.0, 0.0, 1.0, 1.0]])
        heads = self.model.roi_heads
        for pooler in (heads.box_roi_pool, heads.mask_roi_pool if self.has_masks else None):
            if pooler is not None:
                pooler(features, [boxes], [(side, side)])
