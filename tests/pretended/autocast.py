"""What autocast does on a GPU, for tensors that say that they are on one: it rounds what it multiplies."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

# What autocast computes in the lower precision.
_ROUNDED = {
    F.conv2d,
    F.conv_transpose2d,
    F.linear,
    F.scaled_dot_product_attention,
    Tensor.matmul,
    Tensor.__matmul__,
    torch.bmm,
    torch.matmul,
}


class Autocast(TorchFunctionMode):
    """Computes in the lower precision inside `torch.autocast("cuda")`."""

    def __torch_function__(self, func: Callable, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _ROUNDED and torch.is_autocast_enabled("cuda"):
            dtype = torch.get_autocast_dtype("cuda")

            def rounded(value: Tensor) -> Tensor:
                return value.to(dtype) if value.is_cuda and value.is_floating_point() else value

            args, kwargs = tree_map_only(Tensor, rounded, (args, kwargs))
        return func(*args, **kwargs)
