"""How float32 products may be rounded: fully for comparisons, and as a run asks for."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from operator import attrgetter
from typing import Any

import torch

# The `fp32_precision` of each may allow products to be rounded to TF32 or bfloat16.
_NAMES = ("cuda.matmul", "cudnn.conv", "cudnn.rnn", "mkldnn.matmul", "mkldnn.conv", "mkldnn.rnn")
_BACKENDS = tuple(attrgetter(name)(torch.backends) for name in _NAMES)
_ON_GPU = _BACKENDS[:2]


@contextmanager
def full_precision() -> Iterator[None]:
    """Compute float32 products and convolutions in float32: without TF32 on a GPU or bfloat16 on a CPU.

    The settings found on entry are restored on exit, also after an error.
    """
    with _set(_BACKENDS, "ieee"):
        yield


@contextmanager
def tf32(allowed: bool | None) -> Iterator[None]:
    """Allow or forbid that a GPU rounds float32 products and convolutions to TF32; None leaves torch's settings.

    The settings found on entry are restored on exit, also after an error.
    """
    with nullcontext() if allowed is None else _set(_ON_GPU, "tf32" if allowed else "ieee"):
        yield


def float32_products() -> dict[str, str]:
    """Return how a GPU rounds float32 products now: "tf32", "ieee" for not at all, "none" for the library's choice."""
    return dict(zip(("matmul", "convolution"), (backend.fp32_precision for backend in _ON_GPU), strict=True))


def precision_settings() -> dict[str, str]:
    """Return all of torch's settings that let float32 products be rounded, on a GPU and on the CPU, by name.

    "none", for nothing said anywhere, is given as "ieee", since it computes the same.
    """
    found = (backend.fp32_precision for backend in _BACKENDS)
    return {name: "ieee" if kind == "none" else kind for name, kind in zip(_NAMES, found, strict=True)}


@contextmanager
def _set(backends: Sequence[Any], precision: str) -> Iterator[None]:
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = precision
        yield
    finally:
        for backend, found in zip(backends, before, strict=True):
            backend.fp32_precision = found
