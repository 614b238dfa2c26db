"""How the raw outputs of a dense head become the score of each class."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Scoring:
    """score = class probability ** class_power * sigmoid(quality) ** quality_power.

    Args:
        activation: "sigmoid" judges each class alone, "softmax" shares one between them.
        background: whether the last column of the logits says "no object"; only with a softmax.
        class_power, quality_power: one half each for FCOS, whose quality is its centre-ness.
        objectness: whether the quality output says if there is any object at all. A row without one is then pushed
            down by it, and its class does not matter; a centre-ness is never pushed down.

    Raises:
        ValueError: for a background column beside sigmoids.
    """

    activation: Literal["sigmoid", "softmax"] = "sigmoid"
    background: bool = False
    class_power: float = 1.0
    quality_power: float = 0.0
    objectness: bool = False

    def __post_init__(self) -> None:
        if self.background and self.activation != "softmax":
            raise ValueError("a background column needs a softmax")

    def scores(
        self, logits: Float[Tensor, "batch anchor column"], quality_logits: Float[Tensor, "batch anchor"] | None
    ) -> Float[Tensor, "batch anchor class"]:
        """Scores in [0, 1], rounded as the libraries round them; for inference."""
        probabilities = self._foreground(logits.sigmoid() if self.activation == "sigmoid" else logits.softmax(-1))
        if quality_logits is None:
            return probabilities
        quality = quality_logits.sigmoid()[..., None]
        if self.class_power == self.quality_power == 0.5:
            return torch.sqrt(probabilities * quality)
        return probabilities**self.class_power * quality**self.quality_power

    def log_scores(
        self, logits: Float[Tensor, "batch anchor column"], quality_logits: Float[Tensor, "batch anchor"] | None
    ) -> Float[Tensor, "batch anchor class"]:
        """Logarithms of the scores, in which no probability rounds to one; for ranking."""
        sigmoid = self.activation == "sigmoid"
        found = self._foreground(F.logsigmoid(logits) if sigmoid else logits.log_softmax(-1))
        return self._with_quality(found, quality_logits)

    def best_log_scores(
        self, logits: Float[Tensor, "batch anchor column"], quality_logits: Float[Tensor, "batch anchor"] | None
    ) -> Float[Tensor, "batch anchor"]:
        """`log_scores` of each row's best class, without computing the others: the score rises with the logit."""
        best = self._foreground(logits).amax(-1, keepdim=True)
        sigmoid = self.activation == "sigmoid"
        found = F.logsigmoid(best) if sigmoid else best - logits.logsumexp(-1, keepdim=True)
        return self._with_quality(found, quality_logits)[..., 0]

    def _foreground(self, columns: Tensor) -> Tensor:
        return columns[..., :-1] if self.background else columns

    def _with_quality(self, found: Tensor, quality_logits: Tensor | None) -> Tensor:
        if quality_logits is None:
            return found
        return self.class_power * found + self.quality_power * F.logsigmoid(quality_logits)[..., None]
