"""When the pseudo-targets are swapped."""

import pytorch_lightning as pl
from torch.utils.hooks import RemovableHandle

from detinv.detectors.assign import Assignment, DynamicAssigner
from detinv.detectors.predictions import DensePredictions, Predictions
from detinv.inversion.module import Inversion
from detinv.inversion.targets.base import MatchingRule, TargetRule, Targets
from detinv.layouts.batch import LayoutBatch


class PseudoTargets(pl.Callback):
    """Rebuilds the pseudo-targets from the outputs of the forward pass whose loss is about to be taken.

    A hook on the detector sees the outputs, so no second pass is needed and the targets are always those of the
    current pixels.

    Args:
        rule: how targets follow from outputs.
        matching: the same for heads without suppression.
        every_n_steps: 1 swaps them at every step, as the paper does; more holds them still in between.
    """

    def __init__(self, rule: TargetRule, matching: MatchingRule, every_n_steps: int = 1) -> None:
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps must be at least 1, got {every_n_steps}")
        self.rule = rule
        self.matching = matching
        self.every_n_steps = every_n_steps
        self._assignment: Assignment | None = None
        self._assigned: LayoutBatch | None = None
        self._handle: RemovableHandle | None = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Inversion)
        self._assignment = None

        def swap(module: object, arguments: tuple, predictions: Predictions) -> None:
            if pl_module.targets is None or trainer.global_step % self.every_n_steps == 0:
                pl_module.targets = self._build(pl_module, predictions.detach())

        self._handle = pl_module.detector.register_forward_hook(swap)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._release()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._release()

    def _release(self) -> None:
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def _build(self, pl_module: Inversion, predictions: Predictions) -> Targets:
        layouts, dense = pl_module.viewed_layouts, predictions.dense
        if predictions.roi is not None:
            return Targets(
                proposals=self.rule.proposals(dense, layouts, self._assign(dense, layouts)),
                roi=self.rule.roi(predictions.roi, layouts),
            )
        if dense.head.post.nms_thresh is not None:
            return Targets(dense=self.rule.dense(dense, layouts, self._assign(dense, layouts)))
        previous = pl_module.targets or Targets()
        encoder = predictions.encoder
        return Targets(
            dense=self.matching.match(dense, layouts, previous.dense),
            encoder=None if encoder is None else self.matching.match(encoder, layouts, previous.encoder),
        )

    def _assign(self, predictions: DensePredictions, layouts: LayoutBatch) -> Assignment:
        head, assigner = predictions.head, predictions.head.assigner
        if isinstance(assigner, DynamicAssigner):
            return assigner.assign_predicted(
                head.anchors,
                head.level_sizes,
                layouts.boxes,
                layouts.labels,
                layouts.valid,
                predictions.log_scores(),
                predictions.boxes(),
            )
        if self._assignment is None or layouts is not self._assigned:
            assert assigner is not None, "a head with suppression has an assigner"
            self._assignment = assigner.assign(head.anchors, head.level_sizes, layouts.boxes, layouts.valid)
            self._assigned = layouts
        return self._assignment
