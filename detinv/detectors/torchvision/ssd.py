"""SSD and SSDLite of torchvision."""

from collections.abc import Sequence

from torchvision.models.detection.ssd import SSD

from detinv.detectors.heads.assigners import AnchorAssigner
from detinv.detectors.heads.codec import DeltaCodec
from detinv.detectors.heads.predictions import DensePredictions, PostProcessing, Predictions
from detinv.detectors.heads.scoring import Scoring
from detinv.detectors.regions import Regions
from detinv.detectors.torchvision.common import AbstractTorchvisionDetector, AnchorCache
from detinv.types import Pixels


class TorchvisionSSD(AbstractTorchvisionDetector):
    """One dense head with a softmax over classes and background.

    The library resizes every image to one size, whatever its aspect ratio, so nothing is ever padded.

    Args:
        model: `SSD` with its weights, which `ssdlite320_mobilenet_v3_large` gives as well; it will be frozen.
        class_names: of the classes 0 ... K-1.
        columns: the model's column of each class; by default all but column 0, the background, in order.
    """

    def __init__(self, model: SSD, class_names: Sequence[str], columns: Sequence[int] | None = None) -> None:
        total = model.head.classification_head.num_columns
        super().__init__(
            model, class_names, range(1, total) if columns is None else columns, total, model.detections_per_img
        )
        matcher = model.proposal_matcher
        self._anchors = AnchorCache(
            model.anchor_generator,
            DeltaCodec(tuple(model.box_coder.weights)),
            AnchorAssigner(matcher.high_threshold, matcher.low_threshold, matcher.high_threshold),
            PostProcessing(
                model.score_thresh,
                model.nms_thresh,
                model.topk_candidates,
                model.detections_per_img,
                topk_per="class",
            ),
            Scoring("softmax", background=True),
        )

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
        logits = self._background_last(outputs["cls_logits"].float())
        return Predictions(
            DensePredictions(logits, outputs["bbox_regression"].float(), self._anchors.head(inputs, features))
        )
