"""What tests of configurations share."""

import pytest

from detinv.config import folders
from detinv.config import help as command_help


@pytest.fixture
def experiment_folder(monkeypatch, tmp_path):
    """An empty folder of experiments."""
    monkeypatch.setattr(folders, "experiment_dir", lambda: tmp_path)
    monkeypatch.setattr(command_help, "experiment_dir", lambda: tmp_path)
    return tmp_path
