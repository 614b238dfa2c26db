"""One batch of inversions as a LightningModule: the pixels are its only trained parameters."""

import torch
from torch import Tensor

from detinv.errors import TargetError
from detinv.inversion.augmentation import Augmentation
from detinv.inversion.losses import Terms
from detinv.inversion.objective import Objective
from detinv.inversion.panel import Panel
from detinv.inversion.pixel_module import AbstractPixelModule, OptimizerFactory, StepOutcome
from detinv.inversion.pixels import AbstractPixels
from detinv.inversion.schedule import Schedule
from detinv.inversion.targets.base import Targets
from detinv.layouts.batch import LayoutBatch


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
    ) -> None:
        super().__init__(panel, layouts, pixels, optimizer, schedule, steps)
        self.objective = objective
        self.views = augmentation.views(layouts, steps, seed)
        self.shown: dict[str, LayoutBatch] = {}
        self.targets: dict[str, Targets] = {}

    def training_step(self, batch: object, batch_idx: int) -> Tensor:
        # Only the network runs in the trainer's precision: half a digit would move pixels off their boxes.
        with torch.autocast(self.device.type, enabled=False):
            centred = self.pixels.centred()
            view, layouts = self.views.at(self.global_step, centred, self.pixels.mean, self.pixels.mask)
            image = self.pixels.mean + view
        terms: Terms = {}
        for reader in self.panel:
            pixels, shown = reader.show(self.panel.weigh(image, reader), layouts)
            self.shown[reader.name] = shown
            predictions = reader.detector(pixels, shown.image_sizes, shown.boxes, shown.valid)
            if reader.name not in self.targets:
                raise TargetError("no pseudo-targets for this step; run the inversion with the callback PseudoTargets")
            # Losses need fp32: areas overflow fp16, and sigmoids round to one.
            with torch.autocast(self.device.type, enabled=False):
                found = self.objective.detector_terms(predictions, self.targets[reader.name])
            prefix = f"{reader.name}/" if len(self.panel) > 1 else ""
            terms |= {f"{prefix}{name}": value for name, value in found.items()}
        with torch.autocast(self.device.type, enabled=False):
            terms |= self.objective.pixel_terms(centred)
            total = self.objective.total(terms)
        self.outcome = StepOutcome({name: value.detach() for name, value in terms.items()}, total.detach())
        return total.sum()

    def on_fit_start(self) -> None:
        self.views.to(self.device)
        self.layouts = self.views.layouts
