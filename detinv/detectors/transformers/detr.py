"""DETR of transformers."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from detinv.detectors.heads.predictions import DensePredictions, Predictions
from detinv.detectors.heads.scoring import Scoring
from detinv.detectors.transformers.common import AbstractTransformersDetector, at_least_fp32
from detinv.types import Pixels


class TransformersDETR(AbstractTransformersDetector):
    """A set of queries, each with a box and a softmax over the classes and "no object".

    Source: Carion et al. 2020. Of the decoder's layers only the last takes part.
    """

    def _scoring(self) -> Scoring:
        return Scoring("softmax", background=True)

    def forward(
        self,
        pixels: Pixels,
        image_sizes: Sequence[tuple[int, int]],
        rois: Float[Tensor, "batch object 4"],
        rois_valid: Bool[Tensor, "batch object"],
    ) -> Predictions:
        """Raw predictions, one row a query; `rois` do not matter to queries."""
        inputs = self._inputs(pixels, image_sizes)
        hidden = self.model.model(pixel_values=inputs).last_hidden_state
        # The heads are cheap, and in half precision a box would move by some pixels.
        with torch.autocast(inputs.device.type, enabled=False):
            hidden = at_least_fp32(hidden)
            logits = self.model.class_labels_classifier(hidden)
            boxes = self.model.bbox_predictor(hidden).sigmoid()
        head = self._head((pixels.shape[2], pixels.shape[3]), (boxes.shape[1],))
        return Predictions(DensePredictions(self._known_columns(logits), boxes, head))
