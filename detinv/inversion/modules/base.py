"""The base of all optimisations of pixels, whatever their loss: a LightningModule that trains nothing else."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from jaxtyping import Float
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor

from detinv.inversion.modules.ensemble import Ensemble
from detinv.inversion.objective.losses import Terms
from detinv.inversion.optim.schedules import Schedule
from detinv.inversion.pixels.pixels import AbstractPixels
from detinv.inversion.pixels.precondition import Preconditioned, Preconditioner
from detinv.layouts.batch import LayoutBatch
from detinv.types import Pixels

OptimizerFactory = Callable[[Iterable[torch.nn.Parameter]], torch.optim.Optimizer]


@dataclass(frozen=True)
class StepOutcome:
    """The losses of a step, for callbacks to log; everything is detached and stays on the device.

    Args:
        terms: of the objective, before weighting, one value per image.
        total: weighted, one value per image.
    """

    terms: Terms
    total: Tensor


class AbstractPixelModule(pl.LightningModule, ABC):
    """Optimises the pixels of one batch of images; the detectors stay unchanged.

    Args:
        ensemble: of frozen detectors; moved to the device with the module, absent from checkpoints.
        layouts: one batch, in the ensemble's frame.
        pixels: the parametrised images.
        optimizer: from parameters to an optimiser that treats every pixel alone (SGD, Adam, ...).
        schedule: of the learning rate.
        steps: of the whole run.
        precondition: of each image's gradient; None leaves it as it is.

    Attributes:
        outcome: of the latest step; subclasses set it.
        loss_scale: factor of each image's loss in the backward pass, (batch,); None for 1. See `LossScaling`.
        checkpoint_entries: further entries of checkpoints.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        layouts: LayoutBatch,
        pixels: AbstractPixels,
        optimizer: OptimizerFactory,
        schedule: Schedule,
        steps: int,
        precondition: Preconditioner | None = None,
    ) -> None:
        super().__init__()
        self.ensemble = ensemble
        self.pixels = pixels
        self.layouts = layouts
        self.steps = steps
        self.precondition = precondition
        self.outcome: StepOutcome | None = None
        self.loss_scale: Tensor | None = None
        self.checkpoint_entries: dict[str, Any] = {}
        self._optimizer = optimizer
        self._schedule = schedule

    @abstractmethod
    def training_step(self, batch: object, batch_idx: int) -> Tensor:
        """Compute the loss, summed over the images, and set `outcome`."""

    def centred(self) -> Pixels:
        """Pixels minus mean, whose gradient is reshaped on its way back to the pixels."""
        centred = self.pixels.centred()
        if self.precondition is None:
            return centred
        colours = self.ensemble.colour_covariance
        return Preconditioned.apply(centred, self.precondition, self.layouts.image_sizes, colours)

    def summed(self, losses: Float[Tensor, " batch"]) -> Float[Tensor, ""]:
        """Sum the images' losses, scaled for the backward pass."""
        return (losses if self.loss_scale is None else losses * self.loss_scale).sum()

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        optimizer = self._optimizer(self.pixels.parameters())
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self._schedule(step, self.steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        """Leave the detectors out: their weights never change, and are often a thousand times the pixels."""
        checkpoint["state_dict"] = {
            name: value for name, value in checkpoint["state_dict"].items() if not name.startswith("ensemble.")
        }
        checkpoint |= self.checkpoint_entries

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        """Add the detectors' weights again, so that loading stays strict about the pixels."""
        own = {f"ensemble.{name}": value for name, value in self.ensemble.state_dict().items()}
        checkpoint["state_dict"] = {**checkpoint["state_dict"], **own}

    @torch.no_grad()
    def images(self) -> list[Tensor]:
        """Give the images as they would be saved: 8-bit RGB (3, h, w), rounded, cropped to each layout, on the CPU."""
        pixels = (self.pixels().clamp(0, 1) * 255).round().to(torch.uint8).cpu()
        sizes = self.layouts.image_sizes
        return [image[:, :height, :width] for image, (height, width) in zip(pixels, sizes, strict=True)]
