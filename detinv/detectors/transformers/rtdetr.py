"""RT-DETR and D-FINE of transformers, which have the same structure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from detinv.detectors.feature_layers import FeatureLayer, HeadName
from detinv.detectors.heads.predictions import DensePredictions, Predictions
from detinv.detectors.probing import ModuleOutput, backbone_stages, find_outputs, neck_levels
from detinv.detectors.regions import Regions
from detinv.detectors.transformers.common import AbstractTransformersDetector, at_least_fp32, take
from detinv.errors import DetectorError
from detinv.types import Pixels

_ENCODER = "model.model.encoder"


class TransformersRTDETR(AbstractTransformersDetector):
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
        self.size_divisor = max(strides)
        height, width = self._input_size(self.size_divisor)
        self._shapes = tuple((height // stride, width // stride) for stride in strides)
        self._require_tokens(self._shapes)
        self._kept: dict[torch.device, _Constants] = {}

    def level_layers(self, head: HeadName = "dense") -> tuple[FeatureLayer, ...]:
        """Return the encoder's maps, of whose cells tokens and queries are made.

        Every query attends to all of them; see `row_levels` for the one it was made from.

        Raises:
            DetectorError: when the detector has no such head.
        """
        if head == "roi":
            raise DetectorError(f"{type(self).__name__} has no head {head!r}")
        return tuple(layer for layer in self.feature_layers() if layer.module == _ENCODER)

    def row_levels(self, predictions: Predictions, head: HeadName = "dense") -> Int64[Tensor, "batch row"]:
        """Return the level of each row; of a query, the level of the token it was made from."""
        if head != "dense" or predictions.dense.identities is None:
            return super().row_levels(predictions, head)
        ends = self._constants(self.device).starts[1:]
        return torch.bucketize(predictions.dense.identities, ends, right=True)

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

    def _constants(self, device: torch.device) -> "_Constants":
        if device not in self._kept:
            with torch.inference_mode(False), torch.no_grad():
                found = self.model.model.generate_anchors(self._shapes, device=device, dtype=torch.float32)
                # The library caches these, possibly from a pass under inference mode; copies are ordinary tensors.
                anchors, allowed = (tensor.clone() for tensor in found)
                sizes = [height * width for height, width in self._shapes]
                self._kept[device] = _Constants(
                    anchors,
                    allowed.float(),
                    torch.nonzero(allowed[0, :, 0])[:, 0],
                    tuple(int(level.sum()) for level in allowed[0, :, 0].split(sizes)),
                    torch.tensor(self._shapes, device=device if self.model.config.model_type == "rt_detr" else "cpu"),
                    torch.tensor([sum(sizes[:level]) for level in range(len(sizes))], device=device),
                )
        return self._kept[device]


@dataclass(frozen=True)
class _Constants:
    """Constants of the tokens for one input size.

    Args:
        anchors: boxes from which the tokens' boxes are offset, as logits.
        allowed: 1 for tokens that may become queries, 0 for those at the border.
        tokens: numbers of the allowed tokens.
        level_sizes: how many of them each level has.
        shapes: (height, width) of each level. The second version and D-FINE only ask, in every layer, whether they fit:
            they are on the host, which would wait for the device otherwise. Kernels for the first version read them on
            the device.
        starts: number of each level's first token.
    """

    anchors: Float[Tensor, "1 token 4"]
    allowed: Float[Tensor, "1 token 1"]
    tokens: Int64[Tensor, " row"]
    level_sizes: tuple[int, ...]
    shapes: Int64[Tensor, "level 2"]
    starts: Int64[Tensor, " level"]


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
