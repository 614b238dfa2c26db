"""One batch of inversions as a LightningModule: the pixels are its only trained parameters."""

from collections.abc import Callable

import torch
from torch import Tensor

from detinv.detectors.predictions import Predictions
from detinv.errors import TargetError
from detinv.inversion.augmentation import Augmentation
from detinv.inversion.lanes import Lanes
from detinv.inversion.losses import Terms
from detinv.inversion.objective import Objective
from detinv.inversion.panel import Panel, Reader
from detinv.inversion.pixel_module import AbstractPixelModule, OptimizerFactory, StepOutcome
from detinv.inversion.pixels import AbstractPixels
from detinv.inversion.schedule import Schedule
from detinv.inversion.targets.base import Targets
from detinv.layouts.batch import LayoutBatch
from detinv.types import Pixels

Spot = tuple[str, int]
"""One of the panel's detectors, by name, and one lane of the batch."""

Retarget = Callable[[Spot, Predictions, LayoutBatch], None]
"""Told the detached predictions of a spot, and the layouts that hold in its view, before the loss is taken."""


class Inversion(AbstractPixelModule):
    """Moves pixels until the frozen detectors of `panel` report the layouts.

    A step reads: view the pixels, predict, compare with the pseudo-targets, add the regularisers. The pseudo-targets
    are set by the callback `PseudoTargets`, from the very predictions of the step.

    Args:
        panel: of frozen detectors; moved to the device with the module, absent from checkpoints.
        layouts: one batch, in the panel's frame.
        pixels: the parametrised images.
        objective: loss terms and their weights.
        optimizer: from parameters to an optimiser that treats every pixel alone (SGD, Adam, ...).
        schedule: of the learning rate.
        steps: of the whole run.
        augmentation: random views.
        seed: of the views.
        lanes: how the CPU runs a batch; by default with all threads of this process.

    Attributes:
        targets: of the latest step.
        retarget: sets `targets`.
    """

    def __init__(
        self,
        panel: Panel,
        layouts: LayoutBatch,
        pixels: AbstractPixels,
        objective: Objective,
        optimizer: OptimizerFactory,
        schedule: Schedule,
        steps: int,
        augmentation: Augmentation,
        seed: int,
        lanes: Lanes | None = None,
    ) -> None:
        super().__init__(panel, layouts, pixels, optimizer, schedule, steps)
        self.objective = objective
        self.views = augmentation.views(layouts, steps, seed)
        self.lanes = lanes or Lanes.of_process()
        self.targets: dict[Spot, Targets] = {}
        self.retarget: Retarget | None = None
        self._viewed: LayoutBatch | None = None
        self._apart: list[LayoutBatch] = []

    def training_step(self, batch: object, batch_idx: int) -> Tensor:
        # Only the network runs in the trainer's precision: half a digit would move pixels off their boxes.
        with torch.autocast(self.device.type, enabled=False):
            centred = self.pixels.centred()
            view, layouts = self.views.at(self.global_step, centred, self.pixels.mean, self.pixels.mask)
            image = self.pixels.mean + view
        if self.device.type == "cpu":
            if layouts is not self._viewed:
                self._viewed, self._apart = layouts, layouts.apart()
            terms = self.lanes.terms(image, lambda one, lane: self._look(one, self._apart[lane], lane))
        else:
            terms = self._look(image, layouts, 0)
        with torch.autocast(self.device.type, enabled=False):
            terms |= self.objective.pixel_terms(centred)
            total = self.objective.total(terms)
        self.outcome = StepOutcome({name: value.detach() for name, value in terms.items()}, total.detach())
        return total.sum()

    def _look(self, image: Pixels, layouts: LayoutBatch, lane: int) -> Terms:
        """The terms of all detectors for one lane."""
        terms: Terms = {}
        for reader in self.panel:
            found = self._read(reader, image, layouts, lane)
            prefix = f"{reader.name}/" if len(self.panel) > 1 else ""
            terms |= {f"{prefix}{name}": value for name, value in found.items()}
        return terms

    def _read(self, reader: Reader, image: Pixels, layouts: LayoutBatch, lane: int) -> Terms:
        pixels, shown = reader.show(self.panel.weigh(image, reader), layouts, lane)
        predictions = reader.detector(pixels, shown.image_sizes, shown.boxes, shown.valid)
        spot = (reader.name, lane)
        if self.retarget is not None:
            with torch.no_grad():
                self.retarget(spot, predictions.detach(), shown)
        if spot not in self.targets:
            raise TargetError("no pseudo-targets for this step; run the inversion with the callback PseudoTargets")
        # Losses need fp32: areas overflow fp16, and sigmoids round to one.
        with torch.autocast(self.device.type, enabled=False):
            return self.objective.detector_terms(predictions, self.targets[spot])

    def on_fit_start(self) -> None:
        self.views.to(self.device)
        self.layouts = self.views.layouts
        self._viewed = None
