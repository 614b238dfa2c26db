"""RT-DETR of transformers, and its relatives of the same build."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from detinv.detectors.predictions import DensePredictions, Predictions
from detinv.detectors.scoring import Scoring
from detinv.detectors.transformers_common import AbstractTransformersDetector
from detinv.errors import DetectorError
from detinv.types import Pixels


class TransformersRTDETR(AbstractTransformersDetector):
    """Queries chosen among the tokens of an encoder, each with a box and a sigmoid for every class.

    The choice of the best tokens has no gradient, and what is not chosen cannot be decoded; so the tokens' own scores
    and boxes are given as `Predictions.encoder`. Tokens at the very border, which the library excludes, are left out.

    Args:
        model, processor, class_names, columns, score_thresh: see `AbstractTransformersDetector`.

    Raises:
        DetectorError: when the processor's size does not suit the network.

    Source: Zhao et al. 2023. Of the decoder's layers only the last takes part.
    """

    def __init__(
        self,
        model: nn.Module,
        processor: Any,
        class_names: Sequence[str],
        columns: Sequence[int] | None = None,
        score_thresh: float = 0.05,
    ) -> None:
        super().__init__(model, processor, class_names, columns, score_thresh)
        strides = self.model.config.feat_strides
        height, width = self.processor.size.height, self.processor.size.width
        if not height or not width or height % max(strides) or width % max(strides):
            raise DetectorError(
                f"image_size={[height, width]}: give the height and width of what the network sees, multiples of "
                f"{max(strides)}"
            )
        self.size_divisor = max(strides)
        self._shapes = tuple((height // stride, width // stride) for stride in strides)
        tokens, queries = sum(rows * columns for rows, columns in self._shapes), self.model.config.num_queries
        if tokens < queries:
            raise DetectorError(
                f"image_size={[height, width]}: gives {tokens} tokens for {queries} queries; choose a larger size, or "
                "fewer queries (settings.num_queries)"
            )
        self._chosen: dict[torch.device, tuple[Int64[Tensor, " token"], tuple[int, ...]]] = {}

    def _scoring(self) -> Scoring:
        return Scoring("sigmoid")

    def forward(
        self,
        pixels: Pixels,
        image_sizes: Sequence[tuple[int, int]],
        rois: Float[Tensor, "batch object 4"],
        rois_valid: Bool[Tensor, "batch object"],
    ) -> Predictions:
        """Raw predictions of the queries and of the encoder's tokens; `rois` do not matter to them."""
        inputs, network = self._inputs(pixels, image_sizes), self.model.model
        canvas = (pixels.shape[2], pixels.shape[3])
        everywhere = torch.ones(len(inputs), *canvas, device=inputs.device)
        features = network.backbone(inputs, everywhere)
        projected = [layer(feature) for layer, (feature, _) in zip(network.encoder_input_proj, features, strict=True)]
        encoded = network.encoder(projected).last_hidden_state
        # The decoder is cheap, and in half precision a box would move by some pixels.
        with torch.autocast(inputs.device.type, enabled=False):
            maps = [level.float() for level in encoded]
            outputs = self.model(pixel_values=None, inputs_embeds=inputs, encoder_outputs=(maps,))
        tokens, sizes = self._tokens(inputs.device)
        encoder = DensePredictions(
            self._known_columns(outputs.enc_outputs_class.index_select(1, tokens)),
            outputs.enc_outputs_coord_logits.index_select(1, tokens).sigmoid(),
            self._head(canvas, sizes),
        )
        queries = self._head(canvas, (outputs.pred_boxes.shape[1],))
        return Predictions(
            DensePredictions(self._known_columns(outputs.logits), outputs.pred_boxes, queries), encoder=encoder
        )

    def _tokens(self, device: torch.device) -> tuple[Int64[Tensor, " token"], tuple[int, ...]]:
        """Which of the encoder's tokens the library allows to become queries, and how many of each level."""
        if device not in self._chosen:
            with torch.inference_mode(False), torch.no_grad():
                _, valid = self.model.model.generate_anchors(self._shapes, device=device, dtype=torch.float32)
                levels = valid[0, :, 0].split([height * width for height, width in self._shapes])
                sizes = tuple(int(level.sum()) for level in levels)
                self._chosen[device] = (torch.nonzero(valid[0, :, 0])[:, 0], sizes)
        return self._chosen[device]
