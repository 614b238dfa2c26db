"""RetinaNet of Detectron2."""

from collections.abc import Sequence

from detectron2.modeling.meta_arch.retinanet import RetinaNet
from torch import Tensor, nn

from detinv.detectors.detectron2.common import AbstractDetectron2Detector, AnchorCache, Preprocessing, delta_codec
from detinv.detectors.heads.anchors import flatten_rows
from detinv.detectors.heads.assigners import AnchorAssigner
from detinv.detectors.heads.predictions import DensePredictions, PostProcessing, Predictions
from detinv.detectors.heads.window import HeadOutputs, HeadWindow, window_radius
from detinv.detectors.regions import Regions
from detinv.types import Pixels


class Detectron2RetinaNet(AbstractDetectron2Detector):
    """One dense head with several anchors, usually nine, per cell, centred on its upper left corner.

    Args:
        model: with its weights; it will be frozen.
        class_names: of the classes 0 ... K-1.
        preprocessing: of images before the model.
    """

    def __init__(self, model: RetinaNet, class_names: Sequence[str], preprocessing: Preprocessing) -> None:
        super().__init__(model, class_names, model.num_classes, model.max_detections_per_image, preprocessing)
        self._anchors = AnchorCache(
            model.anchor_generator,
            delta_codec(model.box2box_transform),
            # The matcher encloses its own thresholds between two infinite ones.
            AnchorAssigner(candidate_iou_thresh=model.anchor_matcher.thresholds[-2]),
            PostProcessing(
                model.test_score_thresh,
                model.test_nms_thresh,
                model.test_topk_candidates,
                model.max_detections_per_image,
                clip="after",
                drop_empty=True,
            ),
        )

    def forward(
        self,
        pixels: Pixels,
        image_sizes: Sequence[tuple[int, int]] | None = None,
        regions: Regions | None = None,
    ) -> Predictions:
        """Return raw predictions; a one-stage detector needs neither `image_sizes` nor `regions`."""
        features = self.model.backbone(self._inputs(pixels))
        levels = [features[name] for name in self.model.head_in_features]
        logits, deltas = self.model.head(levels)
        return Predictions(
            DensePredictions(
                flatten_rows(logits, self.model.num_classes),
                flatten_rows(deltas, 4),
                self._anchors.head(pixels, levels),
            )
        )

    def head_window(self) -> HeadWindow | None:
        """Return how to run the head on windows, unless it normalises over whole feature maps or level by level."""
        head = self.model.head
        radius = window_radius(
            [nn.Sequential(head.cls_subnet, head.cls_score), nn.Sequential(head.bbox_subnet, head.bbox_pred)]
        )
        if radius is None:
            return None

        def outputs(level: int, windows: Tensor) -> HeadOutputs:
            # The head's own forward takes all levels at once; all of them share its branches.
            logits, deltas = head.cls_score(head.cls_subnet(windows)), head.bbox_pred(head.bbox_subnet(windows))
            return HeadOutputs(flatten_rows([logits], self.model.num_classes), flatten_rows([deltas], 4))

        return HeadWindow(radius, outputs)
