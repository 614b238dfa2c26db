"""Full float32 precision for comparisons, whatever the program allows for matrix products."""

from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter

import torch

# The `fp32_precision` of each may allow products to be rounded to TF32 or bfloat16.
_NAMES = ("cuda.matmul", "cudnn.conv", "cudnn.rnn", "mkldnn.matmul", "mkldnn.conv", "mkldnn.rnn")
_BACKENDS = tuple(attrgetter(name)(torch.backends) for name in _NAMES)


@contextmanager
def full_precision() -> Iterator[None]:
    """Compute float32 products and convolutions in float32: without TF32 on a GPU or bfloat16 on a CPU.

    The settings found on entry are restored on exit, also after an error.
    """
    before = [backend.fp32_precision for backend in _BACKENDS]
    try:
        for backend in _BACKENDS:
            backend.fp32_precision = "ieee"
        yield
    finally:
        for backend, precision in zip(_BACKENDS, before, strict=True):
            backend.fp32_precision = precision
