"""A CUDA device pretended on the CPU, which notes every wait of the host for the device, with its line.

Inside `PretendedGpu`, tensors can be moved to `cuda:0` and computed with there, also by Lightning's accelerator. Python
sees tensors of a CUDA device, C++ sees tensors on `meta`, so that no driver is asked, and their numbers are computed on
the CPU. As on a real GPU, an operation on tensors of both sides is an error.
"""

import sys
import sysconfig
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

from tests.pretended.above_cpp import AboveCpp
from tests.pretended.autocast import Autocast
from tests.pretended.driver import GPU, pretended_driver
from tests.pretended.waits import INDEXING, waits

# Lines of these files wait for others: of what pretends, of torch and other libraries, which may lie in an environment
# that this one builds on, and of Python itself.
_OURS, _TORCH = str(Path(__file__).parent / "pretended"), str(Path(torch.__file__).parents[1])
_PASSED_OVER = (_OURS, _TORCH, *(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")))
_aten = torch.ops.aten
_CROSSING = {_aten._to_copy.default, _aten.copy_.default, _aten.set_.source_Tensor}


class PretendedGpu(AbstractContextManager):
    """While active, `cuda:0` exists.

    Attributes:
        waits: `file:line` of each wait so far, outside of libraries.
    """

    def __init__(self) -> None:
        self.waits: list[str] = []
        self._stack = ExitStack()

    def __enter__(self) -> "PretendedGpu":
        self._stack.enter_context(pretended_driver())
        self._stack.enter_context(patch("torch.cuda.synchronize", lambda *_: self._note()))
        # So that numbers given to `torch.tensor(..., device="cuda")` are seen on their way there.
        torch._C._set_only_lift_cpu_tensors(True)
        self._stack.callback(torch._C._set_only_lift_cpu_tensors, False)
        # Modules get new parameters: C++ would turn a parameter of the CPU into one on `meta`, without numbers.
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        self._stack.callback(torch.__future__.set_overwrite_module_params_on_conversion, False)
        self._stack.enter_context(Autocast())
        self._stack.enter_context(AboveCpp())
        self._stack.enter_context(_Dispatch(self._note))
        return self

    def __exit__(self, *exception: Any) -> None:
        self._stack.__exit__(*exception)

    def _note(self) -> None:
        frame = sys._getframe(2)
        while frame.f_code.co_filename.startswith(_PASSED_OVER) and frame.f_back is not None:
            frame = frame.f_back
        self.waits.append(f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}")


class _OnGpu(Tensor):
    """A tensor that says it is on the GPU; its numbers are in a tensor on the CPU."""

    inner: Tensor
    device = property(lambda self: GPU)
    is_cuda = property(lambda self: True)
    is_cpu = is_meta = property(lambda self: False)

    @staticmethod
    def __new__(cls, inner: Tensor) -> "_OnGpu":
        shape = torch.empty_strided(inner.shape, inner.stride(), dtype=inner.dtype, device="meta")
        made = Tensor._make_subclass(cls, shape, device_for_backend_keys=GPU)
        made.inner = inner
        return made

    def __deepcopy__(self, memo: dict[int, Any]) -> "_OnGpu":
        if id(self) not in memo:
            copied = self.detach().clone().requires_grad_(self.requires_grad)
            copied.__dict__.update({name: value for name, value in vars(self).items() if name != "inner"})
            memo[id(self)] = copied
        return memo[id(self)]

    def __reduce_ex__(self, protocol: Any) -> Any:
        # Checkpoints are read on the host.
        return self.inner.__reduce_ex__(protocol)

    def __repr__(self, **_: Any) -> str:
        return f"on {GPU}: {self.inner!r}"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} with a tensor on {GPU}, outside of `PretendedGpu`")


class _Dispatch(TorchDispatchMode):
    def __init__(self, note: Callable[[], None]) -> None:
        super().__init__()
        self._note = note

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        tensors = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, Tensor)]
        here = [value for value in tensors if isinstance(value, _OnGpu)]
        others = [value for value in tensors if not isinstance(value, _OnGpu) and value.ndim > 0]
        if here and others and func not in _CROSSING and func not in INDEXING:
            raise RuntimeError(f"{func}: expected all tensors to be on {GPU}, but one is on {others[0].device}")
        if func is _aten._pin_memory.default:
            # In a backward pass of one's own, no function mode sees it.
            return args[0]
        target, generator = kwargs.get("device"), kwargs.get("generator")
        if _is_gpu(target) and generator is not None:
            raise RuntimeError(f"{func}: expected a 'cuda' device type for generator but found {generator.device}")
        on_gpu = _is_gpu(target) if target is not None else bool(here)
        if func in (_aten.copy_.default, *INDEXING):
            on_gpu = isinstance(args[0], _OnGpu)
        if waits(func, args, kwargs, bool(here), bool(others), on_gpu):
            self._note()
        if _is_gpu(target):
            kwargs["device"] = torch.device("cpu")
        kwargs.pop("pin_memory", None)
        known = {id(value.inner): value for value in here}
        if torch.Tag.inplace_view in func.tags:
            # What C++ sees gets the new shape as well.
            with torch._C._DisableTorchDispatch():
                func(*args, **kwargs)
        args, kwargs = tree_map_only(_OnGpu, lambda value: value.inner, (args, kwargs))
        result = func(*args, **kwargs)
        if not on_gpu:
            return result
        return tree_map_only(Tensor, lambda value: known[id(value)] if id(value) in known else _OnGpu(value), result)


def _is_gpu(device: Any) -> bool:
    """Tell; C++ asks for new tensors beside others on their device, which it takes for `meta`."""
    if device is not None and torch.device(device).type == "cuda" and torch.device(device).index:
        raise RuntimeError(f"{device}: invalid device ordinal")
    return device is not None and torch.device(device).type in ("cuda", "meta")
