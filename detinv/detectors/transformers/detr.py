"""DETR of transformers."""

import torch
from jaxtyping import Float
from torch import Tensor

from detinv.detectors.heads.predictions import DensePredictions, Predictions
from detinv.detectors.transformers.common import at_least_fp32
from detinv.detectors.transformers.queries import TransformersQueries
from detinv.types import Inputs


class TransformersDETR(TransformersQueries):
    """A set of queries, each with a box and a softmax over the classes and "no object".

    Nothing but the heads needs full precision here, so the rest follows autocast.

    Source: Carion et al. 2020. Only the last of the decoder's layers is used.
    """

    depends_on_batch = False

    def _predicted(self, inputs: Inputs, canvas: tuple[int, int]) -> Predictions:
        hidden = self._decoded(inputs)
        # The heads cost little, and in half precision a box would move by several pixels.
        with torch.autocast(inputs.device.type, enabled=False):
            hidden = at_least_fp32(hidden)
            logits = self.model.class_labels_classifier(hidden)
            boxes = self.model.bbox_predictor(hidden).sigmoid()
        head = self._head(canvas, (boxes.shape[1],))
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
