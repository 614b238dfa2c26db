"""One batch of inversions as a LightningModule: the pixels are its only trained parameters."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor

from detinv.detectors.base import AbstractDetector
from detinv.errors import TargetError
from detinv.inversion.augmentation import Augmentation
from detinv.inversion.losses import Terms
from detinv.inversion.objective import Objective
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
    """Moves pixels until the frozen detector reports the layouts of `batch`.

    A step reads: view the pixels, predict, compare with the pseudo-targets, add the regularisers. The pseudo-targets
    are set by the callback `PseudoTargets`, from the very predictions of the step.

    Args:
        detector: frozen; moved to the device with the module, absent from checkpoints.
        layouts: one batch, in the detector's input frame.
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
        detector: AbstractDetector,
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
        self.detector = detector
        self.pixels = pixels
        self.layouts = layouts
        self.objective = objective
        self.steps = steps
        self.views = augmentation.views(layouts, steps, seed)
        self.viewed_layouts = layouts
        self.targets: Targets | None = None
        self.outcome: StepOutcome | None = None
        self._optimizer = optimizer
        self._schedule = schedule

    def training_step(self, batch: object, batch_idx: int) -> Tensor:
        # Only the network runs in the trainer's precision: half a digit would move pixels off their boxes.
        with torch.autocast(self.device.type, enabled=False):
            centred = self.pixels.centred()
            view, self.viewed_layouts = self.views.at(self.global_step, centred, self.pixels.mean, self.pixels.mask)
        predictions = self.detector(
            self.pixels.mean + view, self.layouts.image_sizes, self.viewed_layouts.boxes, self.layouts.valid
        )
        if self.targets is None:
            raise TargetError("no pseudo-targets for this step; run the inversion with the callback PseudoTargets")
        # Losses need fp32: areas overflow fp16, and sigmoids round to one.
        with torch.autocast(self.device.type, enabled=False):
            terms = self.objective.terms(predictions, self.targets, centred)
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
        """Leave the detector out: its weights never change, and are often a thousand times the pixels."""
        checkpoint["state_dict"] = {
            name: value for name, value in checkpoint["state_dict"].items() if not name.startswith("detector.")
        }

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        """Put the detector's own weights back, so that loading stays strict about the pixels."""
        own = {f"detector.{name}": value for name, value in self.detector.state_dict().items()}
        checkpoint["state_dict"] = {**checkpoint["state_dict"], **own}

    @torch.no_grad()
    def images(self) -> list[Tensor]:
        """The images as they would be saved: 8-bit RGB (3, h, w), rounded, cropped to each layout, on the CPU."""
        pixels = (self.pixels().clamp(0, 1) * 255).round().to(torch.uint8).cpu()
        sizes = self.layouts.image_sizes
        return [image[:, :height, :width] for image, (height, width) in zip(pixels, sizes, strict=True)]
