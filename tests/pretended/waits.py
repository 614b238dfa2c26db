"""Which of torch's operations make the host wait for a GPU."""

from typing import Any

import torch

_aten = torch.ops.aten
INDEXING = {_aten.index.Tensor, _aten.index_put_.default, _aten.index_put.default, _aten._index_put_impl_.default}
# Their answer is on the host, or the size of their result.
_WAITING = {
    _aten._local_scalar_dense.default,
    _aten.equal.default,
    _aten.is_nonzero.default,
    _aten.masked_select.default,
    _aten.nonzero.default,
    _aten._unique2.default,
    _aten.unique_dim.default,
    _aten.unique_consecutive.default,
    _aten.repeat_interleave.Tensor,
}


def waits(func: Any, args: Any, kwargs: dict[str, Any], here: bool, others: bool, on_gpu: bool) -> bool:
    """Tell of one call.

    Args:
        here: whether a tensor among the arguments is on the GPU.
        others: whether one is on the host.
        on_gpu: whether the result is on the GPU.
    """
    if func in (_aten._to_copy.default, _aten.copy_.default):
        source = args[0] if func is _aten._to_copy.default else args[1]
        asynchronous = kwargs.get("non_blocking", len(args) > 2 and args[2])
        return source.is_cuda != on_gpu and not asynchronous
    if func in INDEXING:
        masks = [one for one in args[1] if one is not None and one.dtype in (torch.bool, torch.uint8)]
        return here and (bool(masks) or others)
    return here and func in _WAITING
