"""Named, weighted terms: raw predictions, pseudo-targets and pixels to one scalar for each image."""

from collections.abc import Collection, Iterable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from detinv.config.printable import suggestion
from detinv.config.ranges import check_range
from detinv.detectors.heads.predictions import DensePredictions, Predictions
from detinv.errors import ConfigError
from detinv.inversion.objective.losses import TermOptions, Terms, dense_terms, proposal_terms, roi_terms
from detinv.inversion.regularisers.alpha_norm import alpha_norm
from detinv.inversion.regularisers.total_variation import total_variation
from detinv.inversion.targets.base import Targets

TERM_NAMES = (
    "cls",
    "reg",
    "centerness",
    "objectness",
    "dfl",
    "l1",
    "deltas",
    "positive",
    "encoder_cls",
    "encoder_reg",
    "encoder_l1",
    "encoder_positive",
    "rpn_cls",
    "rpn_reg",
    "roi_cls",
    "roi_reg",
    "roi_positive",
    "roi_mask",
    "total_variation",
    "alpha_norm",
)
_REGULARISERS = ("total_variation", "alpha_norm")


class Objective:
    """Weights of the loss terms and regularisers.

    Args:
        weights: factor of each term, by name; a term that is not named, or null, has weight 0. Terms that a detector
            does not have (a mask term without masks, say) are passed over.
        level_weights: factor of each pyramid level, finest first, for rows and regions alike; the last one also
            serves all coarser levels.
        positive_cap: see `TermOptions`.
        tv_exponent, alpha_exponent: of the two regularisers.

    Raises:
        ConfigError: on an unknown term or no level weight.
    """

    def __init__(
        self,
        weights: Mapping[str, float | None],
        level_weights: Sequence[float] = (1.0,),
        positive_cap: float | None = None,
        tv_exponent: float = 2.0,
        alpha_exponent: float = 6.0,
    ) -> None:
        _check_names(weights)
        if not level_weights:
            raise ConfigError("level_weights is empty; give one weight for each pyramid level, or a single one for all")
        self.weights = {name: float(weight) for name, weight in weights.items() if weight}
        self.level_weights = tuple(float(weight) for weight in level_weights)
        self.options = TermOptions(positive_cap, deltas="deltas" in self.weights)
        self.tv_exponent = tv_exponent
        self.alpha_exponent = alpha_exponent
        check_range(self, "tv_exponent alpha_exponent", above=True)
        self._on_device: dict[tuple[torch.device, int], Tensor] = {}

    def reweighted(self, weights: Mapping[str, float | None]) -> "Objective":
        """The same objective with other weights; terms that `weights` does not name keep theirs, null drops one."""
        return Objective(
            {**self.weights, **weights},
            self.level_weights,
            self.options.positive_cap,
            self.tv_exponent,
            self.alpha_exponent,
        )

    def only(self, names: Collection[str]) -> "Objective":
        """The same objective without the detector's terms that are not in `names`; regularisers stay.

        Raises:
            ConfigError: on an unknown term.
        """
        _check_names(names)
        dropped = set(TERM_NAMES) - set(names) - set(_REGULARISERS)
        return self.reweighted(dict.fromkeys(sorted(dropped)))

    def detector_terms(self, predictions: Predictions, targets: Targets) -> Terms:
        """All terms of one detector that have a weight, one value per image each, before weighting.

        Args:
            predictions: with gradient to the pixels.
            targets: without.
        """
        found: Terms = {}
        if targets.dense is not None:
            found |= dense_terms(predictions.dense, targets.dense, self._levels(predictions.dense), self.options)
        if targets.encoder is not None and predictions.encoder is not None:
            encoder = dense_terms(predictions.encoder, targets.encoder, self._levels(predictions.encoder), self.options)
            found |= {f"encoder_{name}": value for name, value in encoder.items()}
        if targets.proposals is not None:
            found |= proposal_terms(predictions.dense, targets.proposals, self._levels(predictions.dense))
        if targets.roi is not None and predictions.roi is not None:
            found |= roi_terms(predictions.roi, targets.roi, self._levels(predictions.dense), self.options)
        return {name: value for name, value in found.items() if name in self.weights}

    def pixel_terms(self, centred: Float[Tensor, "batch 3 height width"]) -> Terms:
        """The regularisers that have a weight.

        Args:
            centred: pixels minus mean, zero beyond each image.
        """
        found: Terms = {}
        if "total_variation" in self.weights:
            found["total_variation"] = total_variation(centred, self.tv_exponent)
        if "alpha_norm" in self.weights:
            found["alpha_norm"] = alpha_norm(centred, self.alpha_exponent)
        return found

    def total(self, terms: Terms) -> Float[Tensor, " batch"]:
        """The weighted sum for each image; a name may begin with that of a detector, before a slash.

        Raises:
            ConfigError: when there is no term: none that has a weight is one of this detector.
        """
        if not terms:
            raise ConfigError("preset.objective.weights: no term that has a weight is one of this detector")
        return torch.stack([self.weights[name.rpartition("/")[2]] * value for name, value in terms.items()]).sum(0)

    def _levels(self, predictions: DensePredictions) -> Float[Tensor, " level"]:
        device, count = predictions.logits.device, len(predictions.head.level_sizes)
        # Kept on the device: a copy from the host in every step would wait for it.
        if (device, count) not in self._on_device:
            padded = (self.level_weights + self.level_weights[-1:] * count)[:count]
            self._on_device[device, count] = torch.tensor(padded, device=device)
        return self._on_device[device, count]


def _check_names(names: Iterable[str]) -> None:
    for name in names:
        if name not in TERM_NAMES:
            hint = suggestion(name, TERM_NAMES)
            raise ConfigError(f"unknown loss term {name!r}{hint} (known: {', '.join(TERM_NAMES)})")
