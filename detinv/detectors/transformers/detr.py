"""DETR of transformers."""

from collections.abc import Iterable, Sequence

import torch

from detinv.detectors.base import PROBE_SIZE
from detinv.detectors.feature_layers import FeatureLayer, HeadName
from detinv.detectors.heads.predictions import DensePredictions, Predictions
from detinv.detectors.heads.scoring import Scoring
from detinv.detectors.probing import ModuleOutput, backbone_stages, find_outputs, neck_levels
from detinv.detectors.regions import Regions
from detinv.detectors.transformers.common import AbstractTransformersDetector, at_least_fp32
from detinv.errors import DetectorError
from detinv.types import Pixels


class TransformersDETR(AbstractTransformersDetector):
    """A set of queries, each with a box and a softmax over the classes and "no object".

    Source: Carion et al. 2020. Only the last of the decoder's layers is used.
    """

    def _scoring(self) -> Scoring:
        return Scoring("softmax", background=True)

    def level_layers(self, head: HeadName = "dense") -> tuple[FeatureLayer, ...]:
        """Return the encoder's tokens, to which every query attends.

        Raises:
            DetectorError: for any head but the queries, which are "dense".
        """
        if head != "dense":
            raise DetectorError(f"{type(self).__name__} has no head {head!r}")
        return tuple(layer for layer in self.feature_layers() if layer.name == "encoder")

    def _find_layers(self, outputs: Sequence[ModuleOutput], predictions: Predictions) -> Iterable[FeatureLayer]:
        """Stages of the backbone, the projected map, and the tokens that the encoder makes of it."""
        (projected,) = neck_levels(find_outputs(outputs, "model.model.input_projection"))
        tokens = next(one for one in find_outputs(outputs, "model.model.encoder") if one.tensor.ndim == 3)
        return [
            *backbone_stages(outputs, ["model.model.backbone"]),
            projected,
            tokens.layer("encoder", stride=projected.stride, tokens=True),
        ]

    def _probe_size(self) -> tuple[int, int]:
        return PROBE_SIZE

    def forward(
        self,
        pixels: Pixels,
        image_sizes: Sequence[tuple[int, int]] | None = None,
        regions: Regions | None = None,
    ) -> Predictions:
        """Return raw predictions, one row per query; they do not depend on `regions`."""
        inputs = self._inputs(pixels, image_sizes)
        hidden = self.model.model(pixel_values=inputs).last_hidden_state
        # The heads cost little, and in half precision a box would move by several pixels.
        with torch.autocast(inputs.device.type, enabled=False):
            hidden = at_least_fp32(hidden)
            logits = self.model.class_labels_classifier(hidden)
            boxes = self.model.bbox_predictor(hidden).sigmoid()
        head = self._head((pixels.shape[2], pixels.shape[3]), (boxes.shape[1],))
        return Predictions(DensePredictions(self._known_columns(logits), boxes, head))
