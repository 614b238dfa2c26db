"""Gradients of many scalars with respect to features and pixels: one forward pass, batched backward passes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor


@dataclass(frozen=True)
class Seeds:
    """Where the backward passes of some scalars start: tensors of the graph, and the scalars' gradients there.

    Args:
        scalars: their numbers.
        outputs: tensors through which alone the scalars depend on everything earlier.
        of: returns, for a slice of `scalars`, their gradients with respect to each of `outputs`, stacked.
    """

    scalars: Int64[Tensor, " scalar"]
    outputs: Sequence[Tensor]
    of: Callable[[slice], Sequence[Tensor]]


def seeds_of(values: Float[Tensor, " scalar"], scalars: Int64[Tensor, " scalar"] | None = None) -> Seeds:
    """Return seeds that start at the scalars themselves.

    Args:
        values: scalars of one graph.
        scalars: their numbers; by default 0, 1, 2 and so on.
    """
    units = torch.eye(len(values), dtype=values.dtype, device=values.device)
    numbers = torch.arange(len(values), device=values.device) if scalars is None else scalars
    return Seeds(numbers, [values], lambda part: [units[part]])


def gradients(
    seeds: Iterable[Seeds], tensors: Sequence[Tensor], memory: int
) -> Iterator[tuple[Int64[Tensor, " scalar"], list[Tensor]]]:
    """Yield the gradients of scalars in chunks: which scalars, and for each tensor one gradient for each of them.

    A chunk is one backward pass under `torch.vmap`, whose gradients equal those of one pass for each scalar. The graph
    is kept until the last chunk has been yielded.

    Args:
        seeds: of the scalars.
        tensors: parts of their graph; one that a scalar does not depend on gets zeros.
        memory: bytes that a chunk's gradients may take; at least one scalar is in a chunk.
    """
    each = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    size = max(1, memory // max(each, 1))
    for one in seeds:
        for start in range(0, len(one.scalars), size):
            part = slice(start, min(start + size, len(one.scalars)))
            yield one.scalars[part], _backward(one.outputs, one.of(part), tensors)


def _backward(outputs: Sequence[Tensor], starts: Sequence[Tensor], tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the gradient of each tensor for each start, stacked."""

    def backward(*gradients: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(
            outputs, tensors, gradients, retain_graph=True, allow_unused=True, materialize_grads=True
        )

    if len(starts[0]) == 1:
        return [gradient[None] for gradient in backward(*(start[0] for start in starts))]
    return list(torch.vmap(backward)(*starts))
