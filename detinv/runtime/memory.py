"""Recognising that memory ran out, and releasing what is no longer used."""

import gc

import torch

# Parts of the messages of libraries that could not allocate memory, in lower case.
_MESSAGES = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "bad_alloc",
    "bad allocation",
    "status_alloc_failed",  # CUBLAS_..., CUDNN_..., CUSOLVER_..., CUSPARSE_...
    "cufft_alloc_failed",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error, or one that caused it, says that memory ran out, on the host or on an accelerator."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, MemoryError | torch.OutOfMemoryError):
            return True
        if isinstance(seen, RuntimeError) and any(message in str(seen).lower() for message in _MESSAGES):
            return True
        seen = seen.__cause__
    return False


def release_memory() -> None:
    """Free objects that only refer to each other, and hand cached memory back to the accelerators."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
