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
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

GPU = torch.device("cuda", 0)
# Of torch and other libraries, which may lie in an environment that this one builds on, and of Python itself.
_TORCH = str(Path(torch.__file__).parents[1])
_LIBRARIES = (_TORCH, *(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")))
_aten = torch.ops.aten
_CROSSING = {_aten._to_copy.default, _aten.copy_.default, _aten.set_.source_Tensor}
_INDEXING = {_aten.index.Tensor, _aten.index_put_.default, _aten.index_put.default, _aten._index_put_impl_.default}
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
# What Lightning and torch ask the driver, and the answers.
_DRIVER: dict[str, Any] = {
    "torch.cuda.is_available": True,
    "torch.cuda.is_bf16_supported": True,
    "torch.cuda.device_count": 1,
    "torch.cuda.current_device": 0,
    "torch.cuda.set_device": None,
    "torch.cuda.empty_cache": None,
    "torch.cuda.init": None,
    "torch.cuda._lazy_init": None,
    "torch.cuda.manual_seed_all": None,
    "torch.cuda.get_rng_state": torch.zeros(16, dtype=torch.uint8),
    "torch.cuda.get_rng_state_all": [],
    "torch.cuda.set_rng_state": None,
    "torch.cuda.set_rng_state_all": None,
    "torch.cuda.mem_get_info": (2**36, 2**36),
    "torch.cuda.max_memory_allocated": 0,
    "torch.cuda.reset_peak_memory_stats": None,
    "torch.cuda.get_device_capability": (9, 0),
    "torch.cuda.get_device_name": "pretended",
    "torch.cuda.is_current_stream_capturing": False,
    "torch.accelerator.current_stream": SimpleNamespace(is_capturing=lambda: False),
    "torch._C._cuda_clearCublasWorkspaces": None,
    "lightning_fabric.accelerators.cuda.num_cuda_devices": 1,
    "lightning_fabric.accelerators.cuda.is_cuda_available": True,
    "pytorch_lightning.accelerators.cuda.num_cuda_devices": 1,
}


class PretendedGpu(AbstractContextManager):
    """While active, `cuda:0` exists.

    Attributes:
        waits: `file:line` of each wait so far, outside of libraries.
    """

    def __init__(self) -> None:
        self.waits: list[str] = []
        self._stack = ExitStack()

    def __enter__(self) -> "PretendedGpu":
        for name, answer in _DRIVER.items():
            self._stack.enter_context(patch(name, lambda *_, answer=answer, **__: answer, create=True))
        self._stack.enter_context(patch("torch.cuda.synchronize", lambda *_: self._note()))
        properties = SimpleNamespace(name="pretended", total_memory=2**36, multi_processor_count=1, major=9, minor=0)
        self._stack.enter_context(patch("torch.cuda.get_device_properties", lambda *_: properties))
        # So that numbers given to `torch.tensor(..., device="cuda")` are seen on their way there.
        torch._C._set_only_lift_cpu_tensors(True)
        self._stack.callback(torch._C._set_only_lift_cpu_tensors, False)
        # Modules get new parameters: C++ would turn a parameter of the CPU into one on `meta`, without numbers.
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        self._stack.callback(torch.__future__.set_overwrite_module_params_on_conversion, False)
        self._stack.enter_context(_AboveCpp())
        self._stack.enter_context(_Dispatch(self._note))
        return self

    def __exit__(self, *exception: Any) -> None:
        self._stack.__exit__(*exception)

    def _note(self) -> None:
        frame = sys._getframe(2)
        while frame.f_code.co_filename.startswith((__file__, *_LIBRARIES)) and frame.f_back is not None:
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


class _AboveCpp(TorchFunctionMode):
    """What C++ would ask the driver, or answer by itself of a tensor on `meta`: the current device, and autocast."""

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
        if func is Tensor.new_tensor and isinstance(args[0], _OnGpu):
            func, args, kwargs = torch.tensor, args[1:], {"dtype": args[0].dtype, "device": GPU} | kwargs
        if func in (Tensor.__getitem__, Tensor.__setitem__) and isinstance(args[0], _OnGpu):
            places = args[1] if isinstance(args[1], tuple) else (args[1],)
            places = tuple(torch.tensor(one, device=GPU) if isinstance(one, list) else one for one in places)
            args = (args[0], places, *args[2:])
        if func is Tensor.tolist and isinstance(args[0], _OnGpu):
            return func(args[0].cpu())
        if func in _ROUNDED and torch.is_autocast_enabled("cuda"):
            dtype = torch.get_autocast_dtype("cuda")
            args, kwargs = tree_map_only(
                _OnGpu, lambda value: value.to(dtype) if value.is_floating_point() else value, (args, kwargs)
            )
        return func(*args, **kwargs)


def _with_index(device: torch.device) -> torch.device:
    return GPU if device.type == "cuda" and device.index is None else device


class _Dispatch(TorchDispatchMode):
    def __init__(self, note: Callable[[], None]) -> None:
        super().__init__()
        self._note = note

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        tensors = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, Tensor)]
        here = [value for value in tensors if isinstance(value, _OnGpu)]
        others = [value for value in tensors if not isinstance(value, _OnGpu) and value.ndim > 0]
        if here and others and func not in _CROSSING and func not in _INDEXING:
            raise RuntimeError(f"{func}: expected all tensors to be on {GPU}, but one is on {others[0].device}")
        if func is _aten._pin_memory.default:
            # In a backward pass of one's own, no function mode sees it.
            return args[0]
        target, generator = kwargs.get("device"), kwargs.get("generator")
        if _is_gpu(target) and generator is not None:
            raise RuntimeError(f"{func}: expected a 'cuda' device type for generator but found {generator.device}")
        on_gpu = _is_gpu(target) if target is not None else bool(here)
        if func in (_aten.copy_.default, *_INDEXING):
            on_gpu = isinstance(args[0], _OnGpu)
        if self._waits(func, args, bool(here), bool(others), on_gpu, kwargs):
            self._note()
        if _is_gpu(target):
            kwargs["device"] = torch.device("cpu")
        kwargs.pop("pin_memory", None)
        known = {id(value.inner): value for value in here}
        args, kwargs = tree_map_only(_OnGpu, lambda value: value.inner, (args, kwargs))
        result = func(*args, **kwargs)
        if not on_gpu:
            return result
        return tree_map_only(Tensor, lambda value: known[id(value)] if id(value) in known else _OnGpu(value), result)

    @staticmethod
    def _waits(func: Any, args: Any, here: bool, others: bool, on_gpu: bool, kwargs: dict[str, Any]) -> bool:
        if func in (_aten._to_copy.default, _aten.copy_.default):
            source = args[0] if func is _aten._to_copy.default else args[1]
            asynchronous = kwargs.get("non_blocking", len(args) > 2 and args[2])
            return isinstance(source, _OnGpu) != on_gpu and not asynchronous
        if func in _INDEXING:
            masks = [one for one in args[1] if one is not None and one.dtype in (torch.bool, torch.uint8)]
            return here and (bool(masks) or others)
        return here and func in _WAITING


def _is_gpu(device: Any) -> bool:
    """Tell; C++ asks for new tensors beside others on their device, which it takes for `meta`."""
    if device is not None and torch.device(device).type == "cuda" and torch.device(device).index:
        raise RuntimeError(f"{device}: invalid device ordinal")
    return device is not None and torch.device(device).type in ("cuda", "meta")
