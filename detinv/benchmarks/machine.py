"""What figures were measured on."""

import os
import platform
from pathlib import Path
from typing import Any

import torch

from detinv.results.io.versions import versions

_CPU_INFO = Path("/proc/cpuinfo")


def machine(device: torch.device) -> dict[str, Any]:
    """The device, cores, threads, system and versions."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
        "versions": versions(),
    }


def processor() -> str:
    """What the processor calls itself, as far as the system tells."""
    if _CPU_INFO.is_file():
        for line in _CPU_INFO.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
