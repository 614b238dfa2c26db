"""LW-DETR and RF-DETR of transformers: queries that start at the best of a vision transformer's tokens."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from detinv.detectors.heads.predictions import DensePredictions, Predictions
from detinv.detectors.hooks import ForwardHook, forward_hooks
from detinv.detectors.transformers.queries import TransformersQueries
from detinv.detectors.transformers.tokens import AbstractTokenQueries, TokenConstants
from detinv.types import Inputs


@dataclass(frozen=True)
class _Constants(TokenConstants):
    """What LW-DETR and RF-DETR add.

    Args:
        border: true for tokens at the border, which never become queries.
        proposals: boxes of the other tokens, from which the predicted ones are offset.
    """

    border: Bool[Tensor, "1 token 1"]
    proposals: Float[Tensor, "1 row 4"]


class TransformersTwoStage(AbstractTokenQueries[_Constants], TransformersQueries):
    """Queries with contents of their own, each beginning at the box of one of the tokens with the best scores.

    The choice has no gradient, so the tokens' own scores and boxes are returned as `Predictions.encoder`. Tokens at the
    border, which the library excludes, are left out. A query is identified by its token.

    Args:
        model, processor, class_names, columns, score_thresh: see `AbstractTransformersDetector`.

    Raises:
        DetectorError: when the processor's size does not fit the network.

    Source: Chen et al. 2024 (LW-DETR), Robinson et al. 2025 (RF-DETR). At inference one of the groups of queries is
    used, as in the library.
    """

    def _prepare(self) -> None:
        super()._prepare()
        # In its first pass the library adds hooks to the backbone. Later ones are to leave none behind.
        with torch.no_grad():
            self.model.model.backbone.backbone(torch.zeros(1, 3, self.size_divisor, self.size_divisor).to(self.device))

    def _divisor(self) -> int:
        # Attention is computed in windows. LW-DETR counts all of them, RF-DETR those of a side.
        backbone = self.model.config.backbone_config
        return int(backbone.patch_size * getattr(backbone, "num_windows_side", backbone.num_windows))

    def _token_shapes(self, height: int, width: int) -> tuple[tuple[int, int], ...]:
        patch = self.model.config.backbone_config.patch_size
        scales = getattr(self.model.config, "projector_scale_factors", (1.0,))
        return tuple((int(height // patch * scale), int(width // patch * scale)) for scale in scales)

    def _predicted(self, inputs: Inputs, canvas: tuple[int, int]) -> Predictions:
        network, constants = self.model.model, self._constants(inputs.device)
        heads = {"logits": network.enc_out_class_embed[0], "offsets": network.enc_out_bbox_embed[0]}
        found: dict[str, Tensor] = {}

        def keep(name: str) -> ForwardHook:
            def hook(module: nn.Module, arguments: Any, output: Any) -> None:
                # The library calls the head of the classes a second time, for the chosen tokens.
                found.setdefault(name, output)

            return hook

        with (
            torch.autocast(inputs.device.type, enabled=False),
            forward_hooks([(module, keep(name)) for name, module in heads.items()]),
        ):
            outputs = self.model(pixel_values=inputs)
        queries = outputs.pred_boxes.shape[1]
        scores = found["logits"].masked_fill(constants.border, -torch.inf).amax(-1)
        dense = DensePredictions(
            self._known_columns(outputs.logits),
            outputs.pred_boxes,
            self._head(canvas, (queries,)),
            identities=scores.topk(queries, dim=1).indices,
        )
        offsets = found["offsets"].index_select(1, constants.tokens)
        places, sides = constants.proposals.to(offsets.dtype).split(2, dim=-1)
        encoder = DensePredictions(
            self._known_columns(found["logits"].index_select(1, constants.tokens)),
            torch.cat([places + offsets[..., :2] * sides, offsets[..., 2:].exp() * sides], dim=-1),
            self._head(canvas, constants.level_sizes),
        )
        return Predictions(dense, encoder=encoder)

    def _computed(self, device: torch.device) -> _Constants:
        total = sum(height * width for height, width in self._shapes)
        seen = torch.zeros(1, total, dtype=torch.bool, device=device)
        plain = torch.zeros(1, total, 1, device=device)
        _, proposals, border = self.model.model.gen_encoder_output_proposals(plain, seen, self._shapes)
        numbered = self._numbered(~border[0, :, 0])
        return _Constants(*numbered, border, proposals.index_select(1, numbered[0]))
