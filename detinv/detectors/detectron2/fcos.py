"""FCOS of Detectron2."""

from collections.abc import Sequence

from detectron2.layers import CycleBatchNormList
from detectron2.modeling.box_regression import Box2BoxTransformLinear
from detectron2.modeling.meta_arch.fcos import FCOS
from torch import Tensor, nn

from detinv.detectors.detectron2.common import AbstractDetectron2Detector, AnchorCache, Preprocessing, unsupported
from detinv.detectors.heads.anchors import flatten_rows
from detinv.detectors.heads.assigners import PointAssigner
from detinv.detectors.heads.codec import DistanceCodec
from detinv.detectors.heads.predictions import DensePredictions, PostProcessing, Predictions
from detinv.detectors.heads.scoring import Scoring
from detinv.detectors.heads.window import HeadOutputs, HeadWindow, window_radius
from detinv.detectors.regions import Regions
from detinv.types import Pixels


class Detectron2FCOS(AbstractDetectron2Detector):
    """One dense head with one location at the centre of each cell, distances to the four sides, and centre-ness.

    Args:
        model: with its weights; it will be frozen.
        class_names: of the classes 0 ... K-1.
        preprocessing: of images before the model.

    Raises:
        DetectorError: when distances are not in units of the stride.
    """

    def __init__(self, model: FCOS, class_names: Sequence[str], preprocessing: Preprocessing) -> None:
        super().__init__(model, class_names, model.num_classes, model.max_detections_per_image, preprocessing)
        transform = model.box2box_transform
        if not isinstance(transform, Box2BoxTransformLinear) or not transform.normalize_by_size:
            raise unsupported("distances that are not in units of the stride")
        self._anchors = AnchorCache(
            model.anchor_generator,
            DistanceCodec(),
            PointAssigner(radius=model.center_sampling_radius),
            PostProcessing(
                model.test_score_thresh,
                model.test_nms_thresh,
                model.test_topk_candidates,
                model.max_detections_per_image,
                clip="after",
                drop_empty=True,
            ),
            Scoring(class_power=0.5, quality_power=0.5),
        )

    def forward(
        self,
        pixels: Pixels,
        image_sizes: Sequence[tuple[int, int]] | None = None,
        regions: Regions | None = None,
    ) -> Predictions:
        """Return raw predictions; a one-stage detector needs neither `image_sizes` nor `regions`.

        The head returns distances before the ReLU, which Detectron2 applies in its decoder.
        """
        features = self.model.backbone(self._inputs(pixels))
        levels = [features[name] for name in self.model.head_in_features]
        outputs = self._rows(*self.model.head(levels))
        return Predictions(
            DensePredictions(outputs.logits, outputs.deltas, self._anchors.head(pixels, levels), outputs.quality_logits)
        )

    def head_window(self) -> HeadWindow | None:
        """Return how to run the head on whole levels, over which it normalises, or on windows; None level by level."""
        head = self.model.head
        if any(isinstance(module, CycleBatchNormList) for module in head.modules()):
            return None
        radius = window_radius(
            nn.Sequential(tower, last)
            for tower, last in (
                (head.cls_subnet, head.cls_score),
                (head.bbox_subnet, head.bbox_pred),
                (head.bbox_subnet, head.ctrness),
            )
        )

        def outputs(level: int, windows: Tensor) -> HeadOutputs:
            # The head's own forward takes all levels at once; all of them share its branches.
            tower = head.bbox_subnet(windows)
            logits = head.cls_score(head.cls_subnet(windows))
            return self._rows([logits], [head.bbox_pred(tower)], [head.ctrness(tower)])

        return HeadWindow(radius, outputs)

    def _rows(self, logits: list[Tensor], distances: list[Tensor], centreness: list[Tensor]) -> HeadOutputs:
        return HeadOutputs(
            flatten_rows(logits, self.model.num_classes),
            flatten_rows(distances, 4),
            flatten_rows(centreness, 1)[..., 0],
        )
