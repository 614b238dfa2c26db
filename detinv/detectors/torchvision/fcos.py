"""FCOS of torchvision."""

from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.models.detection import FCOS

from detinv.detectors.heads.anchors import flatten_rows
from detinv.detectors.heads.assigners import PointAssigner
from detinv.detectors.heads.codec import DistanceCodec
from detinv.detectors.heads.predictions import DensePredictions, PostProcessing, Predictions
from detinv.detectors.heads.scoring import Scoring
from detinv.detectors.heads.window import HeadOutputs, HeadWindow, window_radius
from detinv.detectors.regions import Regions
from detinv.detectors.torchvision.common import AbstractTorchvisionDetector, AnchorCache
from detinv.types import Pixels


class TorchvisionFCOS(AbstractTorchvisionDetector):
    """One dense head with one location per cell, distances to the four sides, and centre-ness.

    Args:
        model: with its weights; it will be frozen.
        class_names: of the classes 0 ... K-1.
        columns: the model's column of each class; by default all columns in order.
    """

    def __init__(self, model: FCOS, class_names: Sequence[str], columns: Sequence[int] | None = None) -> None:
        total = model.head.classification_head.num_classes
        super().__init__(
            model, class_names, range(total) if columns is None else columns, total, model.detections_per_img
        )
        self._anchors = AnchorCache(
            model.anchor_generator,
            DistanceCodec(),
            PointAssigner(radius=model.center_sampling_radius),
            PostProcessing(model.score_thresh, model.nms_thresh, model.topk_candidates, model.detections_per_img),
            Scoring(class_power=0.5, quality_power=0.5),
        )

    def drop_unused_outputs(self) -> None:
        self._keep_known_columns(self.model.head.classification_head)

    def forward(
        self,
        pixels: Pixels,
        image_sizes: Sequence[tuple[int, int]] | None = None,
        regions: Regions | None = None,
    ) -> Predictions:
        """Return raw predictions; a one-stage detector needs neither `image_sizes` nor `regions`."""
        inputs = self._inputs(pixels)
        features = list(self._features(inputs).values())
        outputs = self._head_outputs(features)
        return Predictions(
            DensePredictions(
                outputs.logits, outputs.deltas, self._anchors.head(inputs, features), outputs.quality_logits
            )
        )

    def _head_outputs(self, levels: Sequence[Tensor]) -> HeadOutputs:
        logits = self._known_columns(self.model.head.classification_head(levels).float())
        # The regression head's own forward ends in a ReLU, which passes no gradient to negative distances.
        branch = self.model.head.regression_head
        towers = [branch.conv(level) for level in levels]
        distances = flatten_rows((branch.bbox_reg(tower) for tower in towers), 4)
        centreness = flatten_rows((branch.bbox_ctrness(tower) for tower in towers), 1)[..., 0]
        return HeadOutputs(logits, distances, centreness)

    def head_window(self) -> HeadWindow:
        """Return how to run the head on windows: on whole levels where it normalises over them, as it usually does."""
        classes, boxes = self.model.head.classification_head, self.model.head.regression_head
        radius = window_radius(
            nn.Sequential(tower, last)
            for tower, last in (
                (classes.conv, classes.cls_logits),
                (boxes.conv, boxes.bbox_reg),
                (boxes.conv, boxes.bbox_ctrness),
            )
        )
        return HeadWindow(radius, lambda level, windows: self._head_outputs([windows]))
