"""What adapters share whose queries are chosen among the tokens of an encoder: sizes, levels, layers."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from detinv.detectors.feature_layers import FeatureLayer, HeadName
from detinv.detectors.heads.predictions import Predictions
from detinv.detectors.transformers.common import AbstractTransformersDetector
from detinv.errors import DetectorError


@dataclass(frozen=True)
class TokenConstants:
    """Constants of the tokens for one input size.

    Args:
        tokens: numbers of those that may become queries: all but those at the border.
        level_sizes: how many of these each level has.
        starts: number of each level's first token.
    """

    tokens: Int64[Tensor, " row"]
    level_sizes: tuple[int, ...]
    starts: Int64[Tensor, " level"]


Constants = TypeVar("Constants", bound=TokenConstants)


class AbstractTokenQueries(AbstractTransformersDetector, ABC, Generic[Constants]):
    """Chooses its queries among the cells of several maps, for images of one size.

    A query is identified by the number of its token, see `DensePredictions.identities`.

    Args:
        model, processor, class_names, columns, score_thresh: see `AbstractTransformersDetector`.

    Raises:
        DetectorError: when the processor does not make all images of one size, or that does not fit the network.
    """

    def _prepare(self) -> None:
        super()._prepare()
        self.size_divisor = self._divisor()
        height, width = self.processor.size.height, self.processor.size.width
        if not height or not width or height % self.size_divisor or width % self.size_divisor:
            raise DetectorError(
                f"image_size={[height, width]}: give the height and width of the network's input, multiples of "
                f"{self.size_divisor}"
            )
        self._shapes = self._token_shapes(height, width)
        tokens, queries = sum(height * width for height, width in self._shapes), self.model.config.num_queries
        if tokens < queries:
            raise DetectorError(
                f"image_size={[height, width]}: gives {tokens} tokens for {queries} queries; choose a larger size, or "
                "fewer queries (settings.num_queries)"
            )
        self._kept: dict[torch.device, Constants] = {}

    @abstractmethod
    def _divisor(self) -> int:
        """Return what height and width of the network's input must be multiples of, in pixels."""

    @abstractmethod
    def _token_shapes(self, height: int, width: int) -> tuple[tuple[int, int], ...]:
        """Return (height, width) of each map of tokens, for an input of this size."""

    @abstractmethod
    def _computed(self, device: torch.device) -> Constants:
        """Return the constants of the tokens."""

    def _constants(self, device: torch.device) -> Constants:
        """Return the constants of the tokens; computed once for each device."""
        if device not in self._kept:
            # Made under inference mode, they could not be saved for a later backward pass.
            with torch.inference_mode(False), torch.no_grad():
                self._kept[device] = self._computed(device)
        return self._kept[device]

    def _numbered(
        self, allowed: Bool[Tensor, " token"]
    ) -> tuple[Int64[Tensor, " row"], tuple[int, ...], Int64[Tensor, " level"]]:
        """Return the entries of `TokenConstants`.

        Args:
            allowed: whether each token may become a query.
        """
        sizes = [height * width for height, width in self._shapes]
        return (
            torch.nonzero(allowed)[:, 0],
            tuple(int(level.sum()) for level in allowed.split(sizes)),
            torch.tensor([sum(sizes[:level]) for level in range(len(sizes))], device=allowed.device),
        )

    def level_layers(self, head: HeadName = "dense") -> tuple[FeatureLayer, ...]:
        """Return the maps of whose cells tokens and queries are made.

        Every query attends to all of them; see `row_levels` for the one it was made from.

        Raises:
            DetectorError: when the detector has no such head.
        """
        if head == "roi":
            raise DetectorError(f"{type(self).__name__} has no head {head!r}")
        return tuple(layer for layer in self.feature_layers() if self._is_attended(layer.module))

    def row_levels(self, predictions: Predictions, head: HeadName = "dense") -> Int64[Tensor, "batch row"]:
        """Return the level of each row; of a query, the level of the token it was made from."""
        if head != "dense" or predictions.dense.identities is None:
            return super().row_levels(predictions, head)
        ends = self._constants(self.device).starts[1:]
        return torch.bucketize(predictions.dense.identities, ends, right=True)
