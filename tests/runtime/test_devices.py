"""Devices by name, and in the words of Lightning's Trainer."""

import pytest
import torch

from detinv.errors import ConfigError
from detinv.inversion.fit import device_of
from detinv.runtime.devices import trainer_on, usable_device


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cpu", {"accelerator": "cpu"}),
        ("cuda", {"accelerator": "gpu", "devices": [0]}),
        ("cuda:1", {"accelerator": "gpu", "devices": [1]}),
        ("mps", {"accelerator": "mps"}),
    ],
)
def test_a_trainer_runs_on_the_device_itself(name, expected):
    assert trainer_on(torch.device(name)) == expected


def test_lightning_understands_these_arguments():
    assert device_of(trainer_on(torch.device("cpu"))) == torch.device("cpu")


def test_a_device_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match="device=cuda:99: .*; use device=cpu"):
        usable_device("cuda:99")
    with pytest.raises(ConfigError, match="device=meta: .*; use device=cpu"):
        usable_device("meta")
    for name in ("gpu", "0", "CUDA", ""):
        with pytest.raises(ConfigError, match=f"device={name}: no device of torch; use device=cpu, cuda"):
            usable_device(name)
