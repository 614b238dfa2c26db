"""What Lightning and torch ask the driver of a GPU, and the answers of one that is not there."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch.profiler import ProfilerActivity

GPU = torch.device("cuda", 0)
_PROPERTIES = SimpleNamespace(name="pretended", total_memory=2**36, multi_processor_count=1, major=9, minor=0)
_ANSWERS: dict[str, Any] = {
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
    "torch.cuda.get_device_properties": _PROPERTIES,
    "torch.cuda.get_device_name": "pretended",
    "torch.cuda.is_current_stream_capturing": False,
    "torch.accelerator.current_stream": SimpleNamespace(is_capturing=lambda: False),
    "torch._C._cuda_clearCublasWorkspaces": None,
    "torch.autograd.profiler._supported_activities": {ProfilerActivity.CPU, ProfilerActivity.CUDA},
    "lightning_fabric.accelerators.cuda.num_cuda_devices": 1,
    "lightning_fabric.accelerators.cuda.is_cuda_available": True,
    "pytorch_lightning.accelerators.cuda.num_cuda_devices": 1,
}


@contextmanager
def pretended_driver() -> Iterator[None]:
    """Answer as the driver of one GPU does."""
    with ExitStack() as stack:
        for name, answer in _ANSWERS.items():
            stack.enter_context(patch(name, lambda *_, answer=answer, **__: answer, create=True))
        yield
