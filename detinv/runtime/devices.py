"""Devices by name."""

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
