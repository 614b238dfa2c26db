"""One batch of inversions as a LightningModule: the pixels are its only trained parameters."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor

from detinv.errors import TargetError
from detinv.inversion.augmentation import Augmentation
from detinv.inversion.losses import Terms
from detinv.inversion.objective import Objective
from detinv.inversion.panel import Panel
from detinv.inversion.pixels import AbstractPixels
from detinv.inversion.schedule import Schedule
from detinv.inversion.targets.base import Targets
from detinv.layouts.batch import LayoutBatch

OptimizerFactory = Callable[[Iterable[torch.nn.Parameter]], torch.optim.Optimizer]


@dataclass(frozen=True)
class StepOutcome:
    """What a step computed, for callbacks to log; everything is detached and stays on the device.

    Args:
        terms: of the objective, before weighting, one value per image.
        total: weighted, one value per image.
    """

    terms: Terms
    total: Tensor


class Inversion(pl.LightningModule):
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
        super().__init__()
        self.panel = panel
        self.pixels = pixels
        self.layouts = layouts
        self.objective = objective
        self.steps = steps
        self.views = augmentation.views(layouts, steps, seed)
        self.shown: dict[str, LayoutBatch] = {}
        self.targets: dict[str, Targets] = {}
        self.outcome: StepOutcome | None = None
        self._optimizer = optimizer
        self._schedule = schedule

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

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        optimizer = self._optimizer(self.pixels.parameters())
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self._schedule(step, self.steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_fit_start(self) -> None:
        self.views.to(self.device)
        self.layouts = self.views.layouts

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        """Leave the detectors out: their weights never change, and are often a thousand times the pixels."""
        checkpoint["state_dict"] = {
            name: value for name, value in checkpoint["state_dict"].items() if not name.startswith("panel.")
        }

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        """Put the detectors' own weights back, so that loading stays strict about the pixels."""
        own = {f"panel.{name}": value for name, value in self.panel.state_dict().items()}
        checkpoint["state_dict"] = {**checkpoint["state_dict"], **own}

    @torch.no_grad()
    def images(self) -> list[Tensor]:
        """The images as they would be saved: 8-bit RGB (3, h, w), rounded, cropped to each layout, on the CPU."""
        pixels = (self.pixels().clamp(0, 1) * 255).round().to(torch.uint8).cpu()
        sizes = self.layouts.image_sizes
        return [image[:, :height, :width] for image, (height, width) in zip(pixels, sizes, strict=True)]
