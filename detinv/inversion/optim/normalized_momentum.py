"""Optimisers for batches of images: every image is updated as if it were alone."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from detinv.errors import ConfigError


class NormalizedMomentum(torch.optim.Optimizer):
    """Momentum over gradients that are scaled to unit root mean square, image by image.

    Unlike SGD its step does not depend on the scale of the loss; unlike Adam, pixels that do not matter stay quiet,
    because the scale is one for the whole image instead of one for every pixel.

    Args:
        params: tensors whose first axis counts images.
        lr: root mean square of one step's own contribution, in the parameter's units.
        momentum: in [0, 1).
        weight_decay: share of the parameter that each step takes away, as a multiple of `lr`; what steps do not renew
            fades towards the mean colour. An image whose gradient is zero everywhere does not fade.

    Raises:
        ConfigError: for a number out of range, or a decay that would turn signs round.

    Source: Loshchilov & Hutter 2019, algorithm 1, whose weight decay is decoupled from the gradient as well.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 0.005,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
    ) -> None:
        if not (math.isfinite(lr) and lr >= 0 and 0 <= momentum < 1):
            raise ConfigError(f"lr={lr}, momentum={momentum}: choose lr of at least 0, and momentum from 0 to below 1")
        if weight_decay < 0 or not lr * weight_decay <= 1:
            raise ConfigError(
                f"weight_decay={weight_decay}: choose at least 0, and lr * weight_decay of at most 1 (lr={lr})"
            )
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update; `closure`, where given, computes the gradients first, and its value is returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                scale = parameter.grad.square().flatten(1).mean(1).sqrt().view(-1, *[1] * (parameter.ndim - 1))
                direction = parameter.grad / scale.clamp(min=1e-12)
                state = self.state[parameter]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(parameter)
                velocity = state["momentum"].mul_(group["momentum"]).add_(direction)
                parameter.mul_(1 - group["lr"] * group["weight_decay"] * (scale > 0)).sub_(group["lr"] * velocity)
        return loss
