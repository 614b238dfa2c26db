"""What adapters of anchor-based heads share: constants computed once for each input size, and rows in their order."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from detinv.detectors.heads.assigners import Assigner
from detinv.detectors.heads.codec import BoxCodec
from detinv.detectors.heads.predictions import DenseHead, PostProcessing
from detinv.detectors.heads.scoring import Scoring
from detinv.types import Inputs


class AbstractAnchorCache(ABC):
    """The constants of a dense head, computed by the library's own anchor generator once for each input size.

    Args:
        generator: the model's.
        codec, assigner, post, scoring: see `DenseHead`.
    """

    def __init__(
        self,
        generator: Any,  # the libraries' generators have no common type
        codec: BoxCodec,
        assigner: Assigner,
        post: PostProcessing,
        scoring: Scoring | None = None,
    ) -> None:
        self._generator = generator
        self._codec = codec
        self._assigner = assigner
        self._post = post
        self._scoring = scoring or Scoring()
        self._heads: dict[tuple, DenseHead] = {}

    def head(self, inputs: Inputs, features: Sequence[Tensor]) -> DenseHead:
        """Return the constants for `inputs` of this size and the `features` that a backbone computes from them."""
        grids = tuple(tuple(feature.shape[-2:]) for feature in features)
        key = (tuple(inputs.shape[-2:]), grids, inputs.device)
        if key not in self._heads:
            # Constants made under inference mode could not be saved for a later backward pass.
            with torch.inference_mode(False), torch.no_grad():
                levels = self._levels(inputs, features)
                sizes = tuple(len(level) for level in levels)
                head = DenseHead(torch.cat(levels), sizes, self._codec, self._assigner, self._post, self._scoring)
                # Cached here: computing it copies a list to the device, for which later steps would wait.
                _ = head.levels
            self._heads[key] = head
        return self._heads[key]

    @abstractmethod
    def _levels(self, inputs: Inputs, features: Sequence[Tensor]) -> list[Float[Tensor, "_ 4"]]:
        """Return the anchors of each level, finest first, of which only sizes and device of the arguments matter."""


def flatten_rows(maps: Iterable[Float[Tensor, "batch _ _ _"]], columns: int) -> Float[Tensor, "batch anchor {columns}"]:
    """Flatten head outputs (B, anchors x columns, H, W) to rows in the order (level, H, W, anchor), in fp32."""
    rows = [level.unflatten(1, (-1, columns)).permute(0, 3, 4, 1, 2).flatten(1, 3) for level in maps]
    return torch.cat(rows, dim=1).float()
