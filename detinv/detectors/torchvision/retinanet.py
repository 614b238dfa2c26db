"""RetinaNet of torchvision."""

from collections.abc import Sequence

from torchvision.models.detection import RetinaNet

from detinv.detectors.heads.assigners import AnchorAssigner
from detinv.detectors.heads.codec import DeltaCodec
from detinv.detectors.heads.predictions import DensePredictions, PostProcessing, Predictions
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
        outputs = self.model.head(features)
        logits = self._known_columns(outputs["cls_logits"].float())
        return Predictions(
            DensePredictions(logits, outputs["bbox_regression"].float(), self._anchors.head(inputs, features))
        )
