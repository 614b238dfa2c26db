"""Devices by name, and in the words of Lightning's Trainer."""

from typing import Any

import torch

from detinv.errors import ConfigError
from detinv.inputs.printable import reason_of


def usable_device(name: str) -> torch.device:
    """Return the device called `name`.

    Raises:
        ConfigError: when there is no such device, or it cannot be used here.
    """
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise ConfigError(f"device={name}: no device of torch; use device=cpu, cuda, or cuda:1 and so on") from error
    try:
        # A value as well: meta tensors have none.
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device={name}: {reason_of(error)}; use device=cpu") from error
    return device


def trainer_on(device: torch.device) -> dict[str, Any]:
    """Return the arguments with which Lightning's Trainer runs a module on `device`, and not on another GPU."""
    if device.type == "cuda":
        return {"accelerator": "gpu", "devices": [device.index or 0]}
    return {"accelerator": device.type}
