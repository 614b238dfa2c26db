"""RetinaNet of torchvision."""

from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.models.detection import RetinaNet

from detinv.detectors.heads.assigners import AnchorAssigner
from detinv.detectors.heads.codec import DeltaCodec
from detinv.detectors.heads.predictions import DensePredictions, PostProcessing, Predictions
from detinv.detectors.heads.window import HeadOutputs, HeadWindow, window_radius
from detinv.detectors.regions import Regions
from detinv.detectors.torchvision.common import AbstractTorchvisionDetector, AnchorCache
from detinv.types import Pixels


class TorchvisionRetinaNet(AbstractTorchvisionDetector):
    """One dense head with several anchors, usually nine, per cell.

    Args:
        model: with its weights; it will be frozen.
        class_names: of the classes 0 ... K-1.
        columns: the model's column of each class; by default all columns in order. Models trained on COCO have 91, of
            which 0 and the unused category ids belong to no class.
    """

    def __init__(self, model: RetinaNet, class_names: Sequence[str], columns: Sequence[int] | None = None) -> None:
        total = model.head.classification_head.num_classes
        super().__init__(
            model, class_names, range(total) if columns is None else columns, total, model.detections_per_img
        )
        self._anchors = AnchorCache(
            model.anchor_generator,
            DeltaCodec(model.box_coder.weights),
            AnchorAssigner(candidate_iou_thresh=model.proposal_matcher.high_threshold),
            PostProcessing(model.score_thresh, model.nms_thresh, model.topk_candidates, model.detections_per_img),
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
        return Predictions(DensePredictions(*self._head_outputs(features), self._anchors.head(inputs, features)))

    def _head_outputs(self, levels: list[Tensor]) -> tuple[Tensor, Tensor]:
        outputs = self.model.head(levels)
        return self._known_columns(outputs["cls_logits"].float()), outputs["bbox_regression"].float()

    def head_window(self) -> HeadWindow | None:
        """Return how to run the head on windows, unless it normalises over whole feature maps."""
        classes, boxes = self.model.head.classification_head, self.model.head.regression_head
        radius = window_radius(
            [nn.Sequential(classes.conv, classes.cls_logits), nn.Sequential(boxes.conv, boxes.bbox_reg)]
        )
        if radius is None:
            return None
        return HeadWindow(radius, lambda level, windows: HeadOutputs(*self._head_outputs([windows])))
