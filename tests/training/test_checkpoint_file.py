"""The checkpoint of a training is whole at any time."""

import os
from pathlib import Path

import pytest
import torch

from detinv.errors import OutputError
from detinv.training.checkpoint_file import WholeCheckpoints


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path, monkeypatch):
    path = tmp_path / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"step": 1}, path)

    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="no space left"):
        WholeCheckpoints().save_checkpoint({"step": 2}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}
    assert [one.name for one in tmp_path.iterdir()] == ["last.ckpt"]


def test_what_torch_makes_of_a_full_disk_is_told_as_such(tmp_path: Path):
    resource = pytest.importorskip("resource")
    path = tmp_path / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"step": 1}, path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OutputError, match="last.ckpt cannot be written: file too large"):
            WholeCheckpoints().save_checkpoint(
                {"step": 2, "weights": [torch.zeros(10_000)] * 3 + [torch.ones(50_000)]}, path
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert torch.load(path, weights_only=True) == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]
