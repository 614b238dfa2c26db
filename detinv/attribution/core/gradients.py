"""Gradients of many scalars with respect to features and pixels: one forward pass, batched backward passes."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

_MEMORY = 512 * 2**20
"""Bytes that the gradients of one chunk may take, all tensors together."""


def gradients(
    values: Float[Tensor, " scalar"], tensors: Sequence[Tensor], memory: int = _MEMORY
) -> Iterator[tuple[slice, list[Tensor]]]:
    """Yield the gradients of scalars in chunks: which scalars, and for each tensor one gradient for each of them.

    A chunk is one backward pass under `torch.vmap`, whose gradients equal those of one pass for each scalar. The graph
    is kept until the last chunk has been yielded.

    Args:
        values: scalars of one graph.
        tensors: parts of that graph; one that a scalar does not depend on gets zeros.
        memory: bytes that a chunk's gradients may take; at least one scalar is in a chunk.
    """
    each = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    size = max(1, memory // max(each, 1))
    units = torch.eye(len(values), dtype=values.dtype, device=values.device)

    def backward(unit: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(values, tensors, unit, retain_graph=True, allow_unused=True, materialize_grads=True)

    for start in range(0, len(values), size):
        part = slice(start, min(start + size, len(values)))
        if part.stop - part.start == 1:
            yield part, [gradient[None] for gradient in backward(units[start])]
        else:
            yield part, list(torch.vmap(backward)(units[part]))
