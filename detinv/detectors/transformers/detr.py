"""DETR of transformers."""

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from detinv.detectors.base import PROBE_SIZE
from detinv.detectors.feature_layers import FeatureLayer, HeadName
from detinv.detectors.heads.predictions import DensePredictions, Predictions
from detinv.detectors.heads.scoring import Scoring
from detinv.detectors.probing import ModuleOutput, backbone_stages, find_outputs, neck_levels
from detinv.detectors.regions import Regions
from detinv.detectors.transformers.common import AbstractTransformersDetector, at_least_fp32
from detinv.errors import DetectorError
from detinv.types import Inputs, Pixels


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
        hidden = self._decoded(inputs)
        # The heads cost little, and in half precision a box would move by several pixels.
        with torch.autocast(inputs.device.type, enabled=False):
            hidden = at_least_fp32(hidden)
            logits = self.model.class_labels_classifier(hidden)
            boxes = self.model.bbox_predictor(hidden).sigmoid()
        head = self._head((pixels.shape[2], pixels.shape[3]), (boxes.shape[1],))
        return Predictions(DensePredictions(self._known_columns(logits), boxes, head))

    def _decoded(self, inputs: Inputs) -> Float[Tensor, "batch query channel"]:
        """Run the library's steps without its masks: images fill their canvas, so masks hide nothing.

        The library asks them twice whether they do, for which the host would wait for a GPU.
        """
        network = self.model.model
        everywhere = torch.ones(len(inputs), *inputs.shape[2:], device=inputs.device)
        features, seen = network.backbone(inputs, everywhere)[-1]
        places = network.position_embedding(shape=features.shape, device=inputs.device, dtype=inputs.dtype, mask=seen)
        if places.ndim == 4:  # transformers 5.4 flattens them by itself
            places = places.flatten(2).transpose(1, 2)
        encoded = network.encoder(
            inputs_embeds=network.input_projection(features).flatten(2).transpose(1, 2),
            spatial_position_embeddings=places,
        )
        queries = network.query_position_embeddings.weight.expand(len(inputs), -1, -1)
        return network.decoder(
            inputs_embeds=torch.zeros_like(queries),
            spatial_position_embeddings=places,
            object_queries_position_embeddings=queries,
            encoder_hidden_states=encoded.last_hidden_state,
        ).last_hidden_state
