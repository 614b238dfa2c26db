"""Detection models of transformers that give each query a box and classes: their own forward pass as it is."""

from collections.abc import Iterable, Sequence
from math import prod
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from detinv.detectors.base import PROBE_SIZE
from detinv.detectors.feature_layers import FeatureLayer, HeadName
from detinv.detectors.heads.predictions import DensePredictions, Predictions
from detinv.detectors.probing import ModuleOutput, backbone_stages, neck_levels
from detinv.detectors.regions import Regions
from detinv.detectors.transformers.common import AbstractTransformersDetector
from detinv.errors import DetectorError
from detinv.types import Inputs, Pixels


class TransformersQueries(AbstractTransformersDetector):
    """A set of queries whose logits and boxes, as fractions of the image, the library's model returns.

    Between the decoder's layers boxes and places to look at are handed on, which half precision would move by several
    pixels. The whole network is therefore run in full precision, also under autocast.

    Source: Carion et al. 2020 and its successors; only the last of the decoder's layers is used.
    """

    # As in `TransformersRTDETR`: the library takes sigmoids of the queries' boxes.
    depends_on_batch = True

    def level_layers(self, head: HeadName = "dense") -> tuple[FeatureLayer, ...]:
        """Return one layer, as every query attends to all: the encoder's tokens, else the finest map it attends to.

        Raises:
            DetectorError: for any head but the queries, which are "dense".
        """
        if head != "dense":
            raise DetectorError(f"{type(self).__name__} has no head {head!r}")
        layers = self.feature_layers()
        tokens = [layer for layer in layers if layer.tokens]
        return tuple(tokens or [layer for layer in layers if self._is_attended(layer.module)][:1])

    def _find_layers(self, outputs: Sequence[ModuleOutput], predictions: Predictions) -> Iterable[FeatureLayer]:
        """Stages of the backbone, then the maps that queries attend to, or the tokens made of a single one."""
        attended = [one for one in outputs if self._is_attended(one.module)]
        maps = neck_levels(attended)
        stages = [] if self.family.backbone is None else backbone_stages(outputs, [self.family.backbone])
        grids = {prod(one.tensor.shape[2:]) for one in attended if one.stride is not None}
        tokens = [
            one.layer("encoder", stride=maps[0].stride, tokens=True)
            for one in attended
            if one.tensor.ndim == 3 and {one.tensor.shape[1]} == grids
        ]
        return [*stages, *maps, *tokens[:1]]

    def _probe_size(self) -> tuple[int, int]:
        return self.network_size(PROBE_SIZE) if self.family.side else PROBE_SIZE

    def forward(
        self,
        pixels: Pixels,
        image_sizes: Sequence[tuple[int, int]] | None = None,
        regions: Regions | None = None,
    ) -> Predictions:
        """Return raw predictions, one row per query; they do not depend on `regions`."""
        return self._predicted(self._inputs(pixels, image_sizes), (pixels.shape[2], pixels.shape[3]))

    def _predicted(self, inputs: Inputs, canvas: tuple[int, int]) -> Predictions:
        with torch.autocast(inputs.device.type, enabled=False):
            outputs = self.model(pixel_values=inputs)
        head = self._head(canvas, (outputs.pred_boxes.shape[1],))
        logits = self._known_columns(outputs.logits)
        return Predictions(DensePredictions(logits, outputs.pred_boxes, head, identities=self._chosen(outputs)))

    def _chosen(self, outputs: Any) -> Int64[Tensor, "batch query"] | None:
        """Return the tokens of which the two-stage variant of Deformable DETR made its queries.

        It ranks them by the first column of their logits, which tells objects from background. As that is no class,
        tokens are not returned as `Predictions.encoder`.
        """
        if not getattr(self.model.config, "two_stage", False):
            return None
        queries = outputs.pred_boxes.shape[1]
        chosen: Tensor = outputs.enc_outputs_class[..., 0].topk(queries, dim=1).indices
        return chosen
