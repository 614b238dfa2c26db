"""A LightningModule that trains one of torchvision's detectors."""

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from detinv.errors import ConfigError

_RANDOM_STATE = "torch_random_state"
_DEVICE_RANDOM_STATE = "device_random_state"
MADE_FROM = "made_from"
"""Entry of a checkpoint: what the run depends on."""


class DetectorTraining(pl.LightningModule):
    """Minimises the sum of a torchvision detector's own training losses.

    AdamW with a linear warm-up over the first twentieth of the steps, then a cosine to zero. Checkpoints include the
    state of the random number generators, with which two-stage detectors sample their training examples: the CPU's, and
    that of the device.

    Args:
        model: any of torchvision's detection models.
        steps: optimiser updates of the whole run.
        learning_rate: at the end of the warm-up.
        weight_decay: of AdamW.
        made_from: what else the run depends on, plain values by name; it is stored in checkpoints.
    """

    def __init__(
        self,
        model: nn.Module,
        steps: int,
        learning_rate: float = 2e-3,
        weight_decay: float = 1e-4,
        made_from: Mapping[str, str | float | None] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.steps = steps
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.made_from = dict(made_from or {})
        self._device_random_state: dict[str, Tensor] = {}

    def training_step(self, batch: tuple[list[Tensor], list[dict[str, Tensor]]], batch_idx: int) -> Tensor:
        """Return the sum of the model's losses for one batch of images and targets in torchvision's format.

        Raises:
            ConfigError: when a loss is no longer finite: nothing would be learnt from there on.
        """
        images, targets = batch
        terms = self.model(images, targets)
        loss = torch.stack([term.float() for term in terms.values()]).sum()
        if not bool(loss.isfinite()):
            broken = ", ".join(name for name, term in terms.items() if not bool(term.isfinite()))
            raise ConfigError(
                f"the training diverged: {broken or 'the sum of losses'} is not finite at step {self.global_step}; "
                "choose a smaller learning_rate, or precision=32-true, and another out_dir"
            )
        self.log("loss", loss, prog_bar=True, batch_size=len(images))
        self.log_dict({f"loss/{name}": term for name, term in terms.items()}, batch_size=len(images))
        return loss

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[_RANDOM_STATE] = torch.get_rng_state()
        if self.device.type != "cpu":
            checkpoint[_DEVICE_RANDOM_STATE] = {self.device.type: torch.get_device_module(self.device).get_rng_state()}
        checkpoint[MADE_FROM] = self.made_from

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if _RANDOM_STATE in checkpoint:
            torch.set_rng_state(checkpoint[_RANDOM_STATE].cpu())
        self._device_random_state = checkpoint.get(_DEVICE_RANDOM_STATE, {})

    def on_train_start(self) -> None:
        # Checkpoints are loaded before the device is known; one of another kind of device says nothing of this one.
        if self.device.type in self._device_random_state:
            torch.get_device_module(self.device).set_rng_state(self._device_random_state[self.device.type].cpu())

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = torch.optim.AdamW(self.parameters(), self.learning_rate, weight_decay=self.weight_decay)
        warmup = max(self.steps // 20, 1)

        def factor(step: int) -> float:
            if step < warmup:
                return (step + 1) / warmup
            progress = min((step - warmup) / max(self.steps - warmup, 1), 1.0)
            return 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * progress))))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
