"""On which captured features a prediction depends."""

from collections.abc import Mapping

import torch
from torch import Tensor


def dependencies(target: Tensor, features: Mapping[str, Tensor]) -> set[str]:
    """Return the names of the features to which the gradient of a scalar is not zero; all of it must be finite."""
    gradients = torch.autograd.grad(target, list(features.values()), retain_graph=True, allow_unused=True)
    found = {name: gradient for name, gradient in zip(features, gradients, strict=True) if gradient is not None}
    assert all(gradient.isfinite().all() for gradient in found.values())
    return {name for name, gradient in found.items() if gradient.any()}
