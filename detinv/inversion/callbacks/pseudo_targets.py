"""Rebuilding of the pseudo-targets."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytorch_lightning as pl

from detinv.detectors.heads.assigners import Assignment, DynamicAssigner
from detinv.detectors.heads.assigning import assign_rows
from detinv.detectors.heads.predictions import DensePredictions, Predictions
from detinv.inversion.modules.inversion import Inversion
from detinv.inversion.targets.base import MatchingRule, TargetRule, Targets
from detinv.layouts.batch import LayoutBatch

# In checkpoints.
_TARGETS = "pseudo_targets"


class PseudoTargets(pl.Callback):
    """Rebuilds the pseudo-targets from the outputs of the forward pass whose loss is about to be taken.

    The module passes the outputs on, so no second forward pass is needed, and targets always belong to the current
    pixels. Targets of which later steps know are part of checkpoints.

    Args:
        rule: builds targets from outputs.
        matching: the same for heads without suppression.
        every_n_steps: 1 rebuilds the targets in every step, as the paper does; larger numbers keep them in between,
            except for rows that each pass chooses again, see `hold`.
    """

    def __init__(self, rule: TargetRule, matching: MatchingRule, every_n_steps: int = 1) -> None:
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps must be at least 1, got {every_n_steps}")
        self.rule = rule
        self.matching = matching
        self.every_n_steps = every_n_steps
        self._assigned: dict[str, tuple[LayoutBatch, Assignment]] = {}
        self._matched: set[str] = set()

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Inversion)
        self._assigned.clear()
        pl_module.targets = {name: targets.to(pl_module.device) for name, targets in pl_module.targets.items()}
        pl_module.retarget = partial(self._swap, trainer, pl_module)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._release(pl_module)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._release(pl_module)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        assert isinstance(pl_module, Inversion)
        checkpoint[_TARGETS] = {
            name: targets.state()
            for name, targets in pl_module.targets.items()
            if self.every_n_steps > 1 or name in self._matched
        }

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        assert isinstance(pl_module, Inversion)
        for name, state in checkpoint.get(_TARGETS, {}).items():
            pl_module.targets[name] = Targets.of_state(state)

    def _release(self, module: pl.LightningModule) -> None:
        # Otherwise module, trainer and callback form a cycle, and keep their tensors until Python collects it.
        assert isinstance(module, Inversion)
        module.retarget = None
        self._assigned.clear()

    def _swap(
        self, trainer: pl.Trainer, module: Inversion, name: str, predictions: Predictions, layouts: LayoutBatch
    ) -> None:
        previous = module.targets.get(name)
        if previous is None or trainer.global_step % self.every_n_steps == 0:
            module.targets[name] = self.build(name, predictions, layouts, previous or Targets())
        else:
            module.targets[name] = self.hold(predictions, layouts, previous)

    def hold(self, predictions: Predictions, layouts: LayoutBatch, previous: Targets) -> Targets:
        """Return the targets of the previous step, rebuilt only where their rows are others in this pass.

        Each pass chooses the regions of a second stage, and queries among tokens, again: the row that had a target in
        the previous step is another region or query now.

        Args:
            predictions: of one detector, detached.
            previous: targets of the same detector in the previous step.
        """
        if predictions.roi is not None:
            return replace(previous, roi=self.rule.roi(predictions.roi, layouts))
        if predictions.dense.identities is not None:
            return replace(previous, dense=self.matching.match([predictions.dense], layouts, [previous.dense])[0])
        return previous

    def build(self, name: str, predictions: Predictions, layouts: LayoutBatch, previous: Targets) -> Targets:
        """Build the targets for one detector's detached predictions.

        Args:
            name: of the detector, under which the static assignment is kept for as long as `layouts` stays the same.
            previous: targets of the previous step, which matchings prefer to keep.
        """
        dense = predictions.dense
        if predictions.roi is not None:
            return Targets(
                proposals=self.rule.proposals(dense, layouts, self._assign(name, dense, layouts)),
                roi=self.rule.roi(predictions.roi, layouts),
            )
        if dense.head.post.suppresses:
            return Targets(dense=self.rule.dense(dense, layouts, self._assign(name, dense, layouts)))
        self._matched.add(name)
        if predictions.encoder is None:
            return Targets(dense=self.matching.match([dense], layouts, [previous.dense])[0])
        queries, tokens = self.matching.match([dense, predictions.encoder], layouts, [previous.dense, previous.encoder])
        return Targets(dense=queries, encoder=tokens)

    def _assign(self, name: str, predictions: DensePredictions, layouts: LayoutBatch) -> Assignment:
        if isinstance(predictions.head.assigner, DynamicAssigner):
            return assign_rows(predictions, layouts)
        if name not in self._assigned or layouts is not self._assigned[name][0]:
            self._assigned[name] = (layouts, assign_rows(predictions, layouts))
        return self._assigned[name][1]
