"""LW-DETR and RF-DETR of transformers: queries that start at the best of a vision transformer's tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from detinv.detectors.feature_layers import FeatureLayer, HeadName
from detinv.detectors.heads.predictions import DensePredictions, Predictions
from detinv.detectors.hooks import ForwardHook, forward_hooks
from detinv.detectors.transformers.queries import TransformersQueries
from detinv.errors import DetectorError
from detinv.types import Inputs


class TransformersTwoStage(TransformersQueries):
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

    def __init__(
        self,
        model: nn.Module,
        processor: Any,
        class_names: Sequence[str],
        columns: Sequence[int] | None = None,
        score_thresh: float = 0.05,
    ) -> None:
        super().__init__(model, processor, class_names, columns, score_thresh)
        backbone = self.model.config.backbone_config
        # Attention is computed in windows. LW-DETR counts all of them, RF-DETR those of a side.
        self.size_divisor = backbone.patch_size * getattr(backbone, "num_windows_side", backbone.num_windows)
        height, width = self._input_size(self.size_divisor)
        scales = getattr(self.model.config, "projector_scale_factors", (1.0,))
        cells = (height // backbone.patch_size, width // backbone.patch_size)
        self._shapes = tuple((int(cells[0] * scale), int(cells[1] * scale)) for scale in scales)
        self._require_tokens(self._shapes)
        self._kept: dict[torch.device, _Constants] = {}
        # In its first pass the library adds hooks to the backbone. Later ones are to leave none behind.
        with torch.no_grad():
            self.model.model.backbone.backbone(torch.zeros(1, 3, self.size_divisor, self.size_divisor).to(self.device))

    def level_layers(self, head: HeadName = "dense") -> tuple[FeatureLayer, ...]:
        """Return the projector's maps, of whose cells tokens and queries are made.

        Raises:
            DetectorError: when the detector has no such head.
        """
        if head == "roi":
            raise DetectorError(f"{type(self).__name__} has no head {head!r}")
        return tuple(layer for layer in self.feature_layers() if self._is_attended(layer.module))

    def row_levels(self, predictions: Predictions, head: HeadName = "dense") -> Int64[Tensor, "batch row"]:
        """Return the level of each row; of a query, the level of the token it began at."""
        if head != "dense" or predictions.dense.identities is None:
            return super().row_levels(predictions, head)
        return torch.bucketize(predictions.dense.identities, self._constants(self.device).starts[1:], right=True)

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

    def _constants(self, device: torch.device) -> "_Constants":
        if device not in self._kept:
            with torch.inference_mode(False), torch.no_grad():
                sizes = [height * width for height, width in self._shapes]
                seen = torch.zeros(1, sum(sizes), dtype=torch.bool, device=device)
                plain = torch.zeros(1, sum(sizes), 1, device=device)
                _, proposals, border = self.model.model.gen_encoder_output_proposals(plain, seen, self._shapes)
                tokens = torch.nonzero(~border[0, :, 0])[:, 0]
                self._kept[device] = _Constants(
                    border,
                    tokens,
                    proposals.index_select(1, tokens),
                    tuple(int((~level).sum()) for level in border[0, :, 0].split(sizes)),
                    torch.tensor([sum(sizes[:level]) for level in range(len(sizes))], device=device),
                )
        return self._kept[device]


@dataclass(frozen=True)
class _Constants:
    """Constants of the tokens for one input size.

    Args:
        border: true for tokens at the border, which never become queries.
        tokens: numbers of the others.
        proposals: their boxes, from which the predicted ones are offset.
        level_sizes: how many of them each level has.
        starts: number of each level's first token.
    """

    border: Bool[Tensor, "1 token 1"]
    tokens: Int64[Tensor, " row"]
    proposals: Float[Tensor, "1 row 4"]
    level_sizes: tuple[int, ...]
    starts: Int64[Tensor, " level"]
