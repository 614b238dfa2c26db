"""Settings of torch that belong to the whole process, and that a program may have changed for its own purposes."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

# Kinds of devices on which a program may have switched it on.
_AUTOCAST = ("cpu", "cuda")


@contextmanager
def usual_torch() -> Iterator[None]:
    """Within the block, new tensors are float32 on the CPU and gradients are recorded, as in a fresh process.

    So results do not depend on `torch.set_default_dtype`, `torch.set_default_device`, and on `torch.inference_mode`,
    `torch.no_grad` and `torch.autocast` around a call. Usable as a decorator.
    """
    dtype = torch.get_default_dtype()
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for kind in _AUTOCAST:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        # Torch asks its default device at every call, which costs time.
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)


def own_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """Copy a tensor made within `torch.inference_mode`, which no gradient may pass; others are returned as they are."""
    if not tensor.is_inference():
        return tensor
    with torch.inference_mode(False):
        return tensor.clone()


def sent(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy a tensor of the host to a device; a GPU gets it in its turn, without the host waiting."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
