"""What C++ would ask the driver, or answer by itself of a tensor on `meta`."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

from tests.pretended.driver import GPU


class AboveCpp(TorchFunctionMode):
    """Answers before C++ does: which device is meant, and numbers that come from Python or go there."""

    def __torch_function__(self, func: Callable, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.pin_memory:
            return args[0]
        if func is Tensor.cuda:
            func, args = Tensor.to, (args[0], GPU)
        args, kwargs = tree_map_only(torch.device, _with_index, (args, kwargs or {}))
        if kwargs.get("device") == "cuda":
            kwargs["device"] = GPU
        if func is Tensor.to and args[1:2] == ("cuda",):
            args = (args[0], GPU, *args[2:])
        if func is Tensor.new_tensor and args[0].is_cuda:
            func, args, kwargs = torch.tensor, args[1:], {"dtype": args[0].dtype, "device": GPU} | kwargs
        if func in (Tensor.__getitem__, Tensor.__setitem__) and args[0].is_cuda:
            places = args[1] if isinstance(args[1], tuple) else (args[1],)
            places = tuple(torch.tensor(one, device=GPU) if isinstance(one, list) else one for one in places)
            args = (args[0], places, *args[2:])
        if func is Tensor.tolist and args[0].is_cuda:
            return func(args[0].cpu())
        return func(*args, **kwargs)


def _with_index(device: torch.device) -> torch.device:
    return GPU if device.type == "cuda" and device.index is None else device
