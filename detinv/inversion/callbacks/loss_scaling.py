"""Loss scaling for float16, image by image."""

import pytorch_lightning as pl
import torch
from torch import Tensor

from detinv.inversion.callbacks.base import AbstractStepCallback
from detinv.inversion.modules.base import AbstractPixelModule


class LossScaling(AbstractStepCallback):
    """Scales each image's loss so that its gradient neither vanishes nor overflows in float16.

    An image whose gradient overflows is not moved in that step, and its scale shrinks; all others move as usual. A
    gradient that is not finite without scaling is left to `StopNonFinite`. Runs before all other callbacks that change
    pixels or gradients.

    Args:
        start: scale of every image at first.
        growth, every: factor by which a scale grows after so many steps in a row without overflow.
        backoff: factor by which it shrinks after an overflow, to no less than 1.

    Source: Micikevicius et al. 2018, "Mixed precision training", section 3.2, with the constants of `torch.amp`.
    Departures: `torch.amp.GradScaler` has one scale, and skips the step of all images when one image overflows.
    """

    def __init__(self, start: float = 2.0**16, growth: float = 2.0, every: int = 2000, backoff: float = 0.5) -> None:
        self.start = start
        self.growth = growth
        self.every = every
        self.backoff = backoff
        self._scale: Tensor | None = None
        self._steps: Tensor | None = None
        self._skipped: tuple[Tensor, Tensor] | None = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, AbstractPixelModule)
        count, device = len(pl_module.pixels.values), pl_module.device
        if self._scale is None or self._steps is None:
            self._scale, self._steps = torch.full((count,), self.start), torch.zeros(count, dtype=torch.int64)
        self._scale, self._steps = self._scale.to(device), self._steps.to(device)
        pl_module.loss_scale = self._scale

    @torch.no_grad()
    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, AbstractPixelModule) and self._scale is not None and self._steps is not None
        values = pl_module.pixels.values
        assert values.grad is not None
        tail = [1] * (values.ndim - 1)
        finite = torch.isfinite(values.grad).flatten(1).all(1)
        overflown = ~finite & (self._scale > 1)
        values.grad.copy_(torch.where(overflown.view(-1, *tail), 0.0, values.grad / self._scale.view(-1, *tail)))
        self._skipped = (overflown.view(-1, *tail), values.detach().clone())

        self._steps = torch.where(finite, self._steps + 1, 0)
        grown = self._steps >= self.every
        self._steps = torch.where(grown, 0, self._steps)
        factor = torch.where(grown, self.growth, torch.where(finite, 1.0, self.backoff))
        self._scale = (self._scale * factor).clamp(min=1.0)
        pl_module.loss_scale = self._scale

    @torch.no_grad()
    def after_step(self, trainer: pl.Trainer, module: AbstractPixelModule, step: int) -> None:
        # Momentum moves an image also without a gradient.
        assert self._skipped is not None
        skipped, before = self._skipped
        module.pixels.values.copy_(torch.where(skipped, before, module.pixels.values))
        self._skipped = None

    def state_dict(self) -> dict[str, object]:
        return {"scale": self._scale, "steps": self._steps}

    def load_state_dict(self, state_dict: dict) -> None:
        self._scale, self._steps = state_dict["scale"], state_dict["steps"]
