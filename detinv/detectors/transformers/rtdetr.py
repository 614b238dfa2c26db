"""RT-DETR and D-FINE of transformers, which have the same structure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from detinv.detectors.feature_layers import FeatureLayer
from detinv.detectors.heads.predictions import DensePredictions, Predictions
from detinv.detectors.probing import ModuleOutput, backbone_stages, find_outputs, neck_levels
from detinv.detectors.regions import Regions
from detinv.detectors.transformers.common import at_least_fp32, take
from detinv.detectors.transformers.tokens import AbstractTokenQueries, TokenConstants
from detinv.types import Pixels

_ENCODER = "model.model.encoder"


@dataclass(frozen=True)
class _Constants(TokenConstants):
    """What RT-DETR adds.

    Args:
        anchors: boxes from which the tokens' boxes are offset, as logits.
        allowed: 1 for tokens that may become queries, 0 for those at the border.
        shapes: (height, width) of each level. The second version and D-FINE only ask, in every layer, whether they fit:
            they are on the host, which would wait for the device otherwise. Kernels for the first version read them on
            the device.
    """

    anchors: Float[Tensor, "1 token 4"]
    allowed: Float[Tensor, "1 token 1"]
    shapes: Int64[Tensor, "level 2"]


class TransformersRTDETR(AbstractTokenQueries[_Constants]):
    """Queries chosen among the tokens of an encoder, each with a box and a sigmoid for every class.

    The choice of the best tokens has no gradient, and a token that is not chosen cannot be decoded, so the tokens' own
    scores and boxes are returned as `Predictions.encoder`. Tokens at the border, which the library excludes, are left
    out.

    Args:
        model, processor, class_names, columns, score_thresh: see `AbstractTransformersDetector`.

    Raises:
        DetectorError: when the processor's size does not fit the network.

    Source: Zhao et al. 2023; Peng et al. 2024 (D-FINE). Only the classes and boxes that the library reports are used:
    of D-FINE those of the decoder's layer `eval_idx`, with boxes that are means of distributions.
    """

    # The library takes sigmoids of the queries' boxes; the last few of a batch do not fill a vector register.
    depends_on_batch = True

    def _divisor(self) -> int:
        return max(self.model.config.feat_strides)

    def _token_shapes(self, height: int, width: int) -> tuple[tuple[int, int], ...]:
        return tuple((height // stride, width // stride) for stride in self.model.config.feat_strides)

    def _find_layers(self, outputs: Sequence[ModuleOutput], predictions: Predictions) -> Iterable[FeatureLayer]:
        """Stages of the backbone, then the maps that the encoder returns."""
        levels = neck_levels(find_outputs(outputs, _ENCODER))
        return [*backbone_stages(outputs, ["model.model.backbone"]), *levels]

    def forward(
        self,
        pixels: Pixels,
        image_sizes: Sequence[tuple[int, int]] | None = None,
        regions: Regions | None = None,
    ) -> Predictions:
        """Return raw predictions of the queries and of the encoder's tokens; they do not depend on `regions`."""
        inputs, network = self._inputs(pixels, image_sizes), self.model.model
        canvas = (pixels.shape[2], pixels.shape[3])
        everywhere = torch.ones(len(inputs), *canvas, device=inputs.device)
        features = [feature for feature, _ in network.backbone(inputs, everywhere)]
        encoded = network.encoder(_projected(network.encoder_input_proj, features)).last_hidden_state
        # The rest costs little, and in half precision a box would move by several pixels.
        with torch.autocast(inputs.device.type, enabled=False):
            return self._decoded([at_least_fp32(level) for level in encoded], canvas)

    def _decoded(self, encoded: Sequence[Float[Tensor, "batch _ _ _"]], canvas: tuple[int, int]) -> Predictions:
        """Run the library's steps from the encoder's output on, and keep which tokens were chosen.

        As in the library's training, the gradient of queries flows through the features they attend to, not through the
        tokens from which they were initialised: those have loss terms of their own, which is more stable.
        """
        network, constants = self.model.model, self._constants(encoded[0].device)
        sources = _projected(network.decoder_input_proj, encoded)
        values = torch.cat([source.flatten(2).transpose(1, 2) for source in sources], dim=1)
        memory = network.enc_output(constants.allowed * values)
        token_logits = network.enc_score_head(memory)
        token_boxes = network.enc_bbox_head(memory) + constants.anchors
        queries = self.model.config.num_queries
        chosen = token_logits.amax(-1).topk(queries, dim=1).indices
        decoded = network.decoder(
            inputs_embeds=take(memory, chosen).detach(),
            reference_points=take(token_boxes, chosen).detach(),
            encoder_hidden_states=values,
            encoder_attention_mask=None,
            spatial_shapes=constants.shapes,
            spatial_shapes_list=list(self._shapes),
            level_start_index=constants.starts,
        )
        dense = DensePredictions(
            self._known_columns(decoded.intermediate_logits[:, -1]),
            decoded.intermediate_reference_points[:, -1],
            self._head(canvas, (queries,)),
            identities=chosen,
        )
        encoder = DensePredictions(
            self._known_columns(token_logits.index_select(1, constants.tokens)),
            token_boxes.index_select(1, constants.tokens).sigmoid(),
            self._head(canvas, constants.level_sizes),
        )
        return Predictions(dense, encoder=encoder)

    def _computed(self, device: torch.device) -> _Constants:
        found = self.model.model.generate_anchors(self._shapes, device=device, dtype=torch.float32)
        # The library caches these, possibly from a pass under inference mode; copies are ordinary tensors.
        anchors, allowed = (tensor.clone() for tensor in found)
        shapes = torch.tensor(self._shapes, device=device if self.model.config.model_type == "rt_detr" else "cpu")
        return _Constants(*self._numbered(allowed[0, :, 0].bool()), anchors, allowed.float(), shapes)


def _projected(layers: Iterable[nn.Module], levels: Sequence[Tensor]) -> list[Float[Tensor, "batch _ _ _"]]:
    """Return levels after convolution and normalisation, ready to be flattened.

    The gradient of a flattened map arrives with channels last. For a single image, batch normalisation on the CPU
    mistakes that for the usual order and computes a wrong gradient (torch 2.11 to 2.15), unless it is made contiguous.
    """
    projected = [layer(level) for layer, level in zip(layers, levels, strict=True)]
    for level in projected:
        if level.requires_grad:
            level.register_hook(Tensor.contiguous)
    return projected
