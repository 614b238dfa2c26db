"""Devices by name, and in the words of Lightning's Trainer."""

from typing import Any

import torch

from detinv.errors import ConfigError


def usable_device(name: str) -> torch.device:
    """Return the device called `name`.

    Raises:
        ConfigError: when there is no such device, or it cannot be used here.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise ConfigError(f"device={name}: {first_line}; use device=cpu") from error
    return device


def trainer_on(device: torch.device) -> dict[str, Any]:
    """Return the arguments with which Lightning's Trainer runs a module on `device`, and not on another GPU."""
    if device.type == "cuda":
        return {"accelerator": "gpu", "devices": [device.index or 0]}
    return {"accelerator": device.type}
