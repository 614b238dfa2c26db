"""Group normalisation whose gradients are computed for many scalars at once, on the CPU.

With x the input, g the gradient of the output and w the weights, the gradient of the input is

    g w / s + slope x + offset
    slope = (sum(g w) mean - sum(g w x)) / (n s^3)
    offset = -sum(g w) / (n s) - slope mean

where s is the standard deviation, and mean, s and the sums are of a group of n values. Torch computes the same, but
first copies gradients with channels last in memory, as convolutions by `winograd` leave them, into another order.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from detinv.detectors.acceleration.replaced_function import ReplacedFunction


class BatchedGroupNorms(ReplacedFunction):
    """Within it, the gradients of group normalisations with frozen weights cost less on the CPU.

        with BatchedGroupNorms():
            logits = head(features)
        torch.vmap(lambda start: torch.autograd.grad(logits, features, start, retain_graph=True))(starts)

    Outputs are the same; in gradients only rounding differs.
    """

    def __init__(self) -> None:
        super().__init__(F.group_norm, group_norm)


def group_norm(
    input: Float[Tensor, "batch channel *size"],
    num_groups: int,
    weight: Float[Tensor, " channel"] | None = None,
    bias: Float[Tensor, " channel"] | None = None,
    eps: float = 1e-5,
) -> Float[Tensor, "batch channel *size"]:
    """Do what torch's function of this name does; see the module for the gradient.

    It is torch's own on other devices, in half precision, without weights, where these are trained, and where channels
    are not last in memory.
    """
    parameters = [one for one in (weight, bias) if one is not None]
    if (
        len(parameters) < 2
        or any(one.requires_grad or one.dtype != input.dtype for one in parameters)
        or input.device.type != "cpu"
        or input.ndim != 4
        or not input.is_contiguous(memory_format=torch.channels_last)
        or input.dtype not in (torch.float32, torch.float64)
        or torch.is_autocast_enabled("cpu")
    ):
        return F.group_norm(input, num_groups, weight, bias, eps)
    return _GroupNorm.apply(input, num_groups, weight, bias, eps)


class _GroupNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        batch, channels = images.shape[:2]
        found, mean, inverse = torch.native_group_norm(
            images, weight, bias, batch, channels, images[0, 0].numel(), groups, eps
        )
        ctx.save_for_backward(images, weight, mean, inverse)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        images, weight, mean, inverse = ctx.saved_tensors
        (batch, channels), groups = images.shape[:2], mean.shape[1]
        each = channels // groups
        # Of each channel: (batch, group, channel of the group); of each group: (batch, group, 1).
        scale = weight.view(1, groups, each) * inverse[..., None]
        mean, inverse = mean[..., None], inverse[..., None]
        size = each * images[0, 0].numel()
        # Channels last in memory, as the images; there is no copy if they are.
        gradient = gradient.movedim(1, -1).contiguous().movedim(-1, 1)

        def means(values: Tensor) -> Tensor:
            """Return the means over groups of values weighted by their channel's scale."""
            return (values.sum((2, 3)).view(batch, groups, each) * scale).sum(2, keepdim=True) / size

        total = means(gradient)
        slope = (total * mean - means(gradient * images)) * inverse.square()
        offset = -total - slope * mean

        def spread(values: Tensor) -> Tensor:
            """Repeat values of groups or their channels for all cells."""
            return values.expand(batch, groups, each).reshape(batch, channels, 1, 1)

        found = (gradient * spread(scale)).add_(images * spread(slope)).add_(spread(offset))
        return found, None, None, None, None
