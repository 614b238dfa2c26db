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
        activation: "sigmoid" scores each class independently, "softmax" normalises over the classes.
        background: whether the last column of the logits stands for "no object"; only with a softmax.
        class_power, quality_power: one half each for FCOS, whose quality is its centre-ness.
        objectness: whether the quality output predicts if there is any object at all. Rows without an object are then
            pushed down through it, whatever their class; a centre-ness is never pushed down.

    Raises:
        ValueError: for a background column together with sigmoids.
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
        self, logits: Float[Tensor, "*rows column"], quality_logits: Float[Tensor, "*rows"] | None
    ) -> Float[Tensor, "*rows class"]:
        """Return scores in [0, 1], rounded as the libraries round them; for inference."""
        probabilities = self._foreground(logits.sigmoid() if self.activation == "sigmoid" else logits.softmax(-1))
        if quality_logits is None:
            return probabilities
        quality = quality_logits.sigmoid()[..., None]
        if self.class_power == self.quality_power == 0.5:
            return torch.sqrt(probabilities * quality)
        return probabilities**self.class_power * quality**self.quality_power

    def log_scores(
        self, logits: Float[Tensor, "*rows column"], quality_logits: Float[Tensor, "*rows"] | None
    ) -> Float[Tensor, "*rows class"]:
        """Return the logarithms of the scores, in which no probability rounds to one; for ranking."""
        sigmoid = self.activation == "sigmoid"
        found = self._foreground(F.logsigmoid(logits) if sigmoid else logits.log_softmax(-1))
        return self._with_quality(found, quality_logits)

    def best_log_scores(
        self, logits: Float[Tensor, "*rows column"], quality_logits: Float[Tensor, "*rows"] | None
    ) -> Float[Tensor, "*rows"]:
        """Return `log_scores` of each row's best class only, which is the one with the highest logit."""
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
