"""An accelerator without float64, as Apple's MPS is, pretended on the CPU.

Inside `PretendedDevice`, tensors can be moved to the device `DEVICE` and computed with there. As on a real accelerator,
an operation between the two sides is an error, and so is a tensor there of a type that it does not have.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

# A type of device that every build of torch knows, and none needs.
DEVICE = torch.device("lazy")
# Operations that have a tensor on each side by design.
_CROSSING = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default}
# Those that take positions from either side.
_INDEXING = {torch.ops.aten.index.Tensor, torch.ops.aten.index_put_.default, torch.ops.aten.index_put.default}


class PretendedDevice(AbstractContextManager):
    """While active, `DEVICE` exists.

    Args:
        missing: types of number that the device does not have.
    """

    def __init__(self, missing: Iterable[torch.dtype] = (torch.float64,)) -> None:
        self.missing = frozenset(missing)
        self._stack = ExitStack()

    def __enter__(self) -> "PretendedDevice":
        self._stack.enter_context(_Construction())
        self._stack.enter_context(_Dispatch(self.missing))
        return self

    def __exit__(self, *exception: Any) -> None:
        self._stack.__exit__(*exception)


class _OnDevice(Tensor):
    """A tensor that says it is on the device; its numbers are in a tensor on the CPU."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> "_OnDevice":
        made = Tensor._make_wrapper_subclass(
            cls, inner.size(), strides=inner.stride(), dtype=inner.dtype, device=DEVICE, requires_grad=False
        )
        made.inner = inner
        return made

    def __repr__(self, **_: Any) -> str:
        return f"on {DEVICE}: {self.inner!r}"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} with a tensor on {DEVICE}, outside of `PretendedDevice`")


class _Construction(TorchFunctionMode):
    """Numbers of Python's become tensors below the level at which the other mode sees them."""

    def __torch_function__(self, func: Callable, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is Tensor.new_tensor and args[0].device == DEVICE:
            kwargs = {"dtype": args[0].dtype, "device": DEVICE} | kwargs
            func, args = torch.tensor, args[1:]
        if func is Tensor.tolist:
            return func(args[0].cpu())
        if func in (torch.tensor, torch.as_tensor) and _is_device(kwargs.get("device")):
            kwargs.pop("device")
            return func(*args, **kwargs).to(DEVICE)
        return func(*args, **kwargs)


class _Dispatch(TorchDispatchMode):
    def __init__(self, missing: frozenset[torch.dtype]) -> None:
        super().__init__()
        self._missing = missing

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        tensors = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, Tensor)]
        here = [value for value in tensors if isinstance(value, _OnDevice)]
        if here and func not in _CROSSING and func not in _INDEXING:
            self._check_one_side(func, tensors)
        target = kwargs.get("device")
        on_device = _is_device(target) if target is not None else bool(here)
        if func is torch.ops.aten.copy_.default:
            on_device = isinstance(args[0], _OnDevice)
        if _is_device(target):
            kwargs["device"] = torch.device("cpu")
        known = {id(value.inner): value for value in here}
        args, kwargs = tree_map_only(_OnDevice, lambda value: value.inner, (args, kwargs))
        result = func(*args, **kwargs)
        if not on_device:
            return result
        return tree_map_only(
            Tensor, lambda value: known[id(value)] if id(value) in known else self._wrap(func, value), result
        )

    def _check_one_side(self, func: Any, tensors: list[Tensor]) -> None:
        others = [value for value in tensors if not isinstance(value, _OnDevice) and value.ndim > 0]
        if others:
            raise RuntimeError(f"{func}: expected all tensors to be on {DEVICE}, but one is on {others[0].device}")

    def _wrap(self, func: Any, value: Tensor) -> Tensor:
        if value.dtype in self._missing:
            raise TypeError(f"{func}: {DEVICE} has no {value.dtype}")
        return _OnDevice(value)


def _is_device(device: Any) -> bool:
    return device is not None and torch.device(device) == DEVICE
