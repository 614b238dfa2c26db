"""Named, weighted loss terms: raw predictions and pseudo-targets to one scalar for each image."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from detinv.detectors.heads.predictions import DensePredictions, Predictions
from detinv.errors import ConfigError
from detinv.inputs.printable import suggestion
from detinv.inputs.ranges import check_range
from detinv.inversion.objective.losses import TermOptions, Terms, dense_terms, proposal_terms, roi_terms
from detinv.inversion.regularisers.base import AbstractRegulariser
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
)
"""Names of all loss terms, whatever the detector."""

SHAPE_TERMS = ("reg", "dfl", "l1", "deltas", "encoder_reg", "encoder_l1", "rpn_reg", "roi_reg", "roi_mask")
"""Those of them that say where objects are, not whether there are any and of which class."""


class Objective:
    """Weights of the loss terms.

    Args:
        weights: factor of each term, by name; a term that is not named, or null, has weight 0. Terms that a detector
            does not have (a mask term without masks, say) are skipped.
        level_weights: factor of each pyramid level, finest first, for rows and regions alike; the last one also
            serves all coarser levels.
        positive_cap, log_odds, background_rows: see `TermOptions`.
        shapes_every: every so many steps, boxes and masks are asked for alone; null for never. An optimiser that scales
            every gradient to one size then gives them that share at least, whatever the units of a head's outputs:
            within a sum, classes may decide alone.

    Raises:
        ConfigError: on an unknown term, no level weight or a number of steps below 2.
    """

    def __init__(
        self,
        weights: Mapping[str, float | None],
        level_weights: Sequence[float] = (1.0,),
        positive_cap: float | None = None,
        log_odds: bool = False,
        shapes_every: int | None = None,
        background_rows: int | None = None,
    ) -> None:
        _check_names(weights)
        if not level_weights:
            raise ConfigError("level_weights is empty; give one weight for each pyramid level, or a single one for all")
        self.weights = {name: float(weight) for name, weight in weights.items() if weight}
        self.level_weights = tuple(float(weight) for weight in level_weights)
        self.options = TermOptions(positive_cap, log_odds, "deltas" in self.weights, background_rows)
        self.shapes_every = shapes_every
        check_range(self, "shapes_every", least=2)
        check_range(self.options, "background_rows", least=1)

    def reweighted(self, weights: Mapping[str, float | None]) -> "Objective":
        """Copy the objective with other weights; terms that `weights` does not name keep theirs, null drops one."""
        return self._copy(weights={**self.weights, **weights})

    def raising_log_odds(self) -> "Objective":
        """Copy the objective with positive terms that raise log-odds; see `TermOptions`."""
        return self._copy(log_odds=True)

    def settled(self, shapes_every: int | None, background_rows: int | None) -> "Objective":
        """Copy the objective with these values where they are given; see `Settling`."""
        changes = {"shapes_every": shapes_every, "background_rows": background_rows}
        return self._copy(**{name: value for name, value in changes.items() if value is not None})

    def _copy(self, **changes: Any) -> "Objective":
        own = {
            "weights": self.weights,
            "level_weights": self.level_weights,
            "positive_cap": self.options.positive_cap,
            "log_odds": self.options.log_odds,
            "shapes_every": self.shapes_every,
            "background_rows": self.options.background_rows,
        }
        return Objective(**own | changes)

    def only(self, names: Collection[str]) -> "Objective":
        """Copy the objective without the terms that are not in `names`.

        Raises:
            ConfigError: on an unknown term.
        """
        _check_names(names)
        return self.reweighted(dict.fromkeys(name for name in TERM_NAMES if name not in names))

    def detector_terms(self, predictions: Predictions, targets: Targets) -> Terms:
        """Compute all terms of one detector that have a weight, one value per image each, before weighting.

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

    def total(
        self, terms: Terms, regularisers: Mapping[str, AbstractRegulariser] | None = None
    ) -> Float[Tensor, " batch"]:
        """Add up the terms of each image, weighted.

        Args:
            terms: of the detectors and of the regularisers; a name may begin with that of a detector, before a slash.
            regularisers: by name, which give their terms' weights.

        Raises:
            ConfigError: when there is no term, because the detector has none of those that have a weight.
        """
        if not terms:
            raise ConfigError("preset.objective.weights: the detector has none of the terms that have a weight")
        weights = self.weights | {name: one.weight for name, one in (regularisers or {}).items()}
        return torch.stack([weights[name.rpartition("/")[2]] * value for name, value in terms.items()]).sum(0)

    def due(self, terms: Terms, step: int) -> Terms:
        """Choose the terms that step number `step` (0, 1, ...) asks for: all, or shapes and regularisers alone.

        Args:
            terms: as `total` takes them.
        """
        if self.shapes_every is None or (step + 1) % self.shapes_every:
            return terms
        names = {name: name.rpartition("/")[2] for name in terms}
        if not any(term in SHAPE_TERMS for term in names.values()):
            return terms
        return {
            name: value for name, value in terms.items() if names[name] in SHAPE_TERMS or names[name] not in TERM_NAMES
        }

    @cached_property
    def _on_device(self) -> dict[tuple[torch.device, int], Tensor]:
        """Weights by device and number of levels; cached properties do not count when objectives are compared."""
        return {}

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
