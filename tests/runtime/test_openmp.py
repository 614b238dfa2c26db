"""Threads of OpenMP: how long they wait, and how many there are."""

import json
import os
import subprocess
import sys

import pytest
import torch

from detinv.runtime.openmp import limit_threads

SPIN = ("GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_WAIT_POLICY")


def spin_after_import(**given: str) -> dict[str, str]:
    others = {key: value for key, value in os.environ.items() if key not in SPIN}
    code = f"import detinv, json, os; print(json.dumps({{k: os.environ[k] for k in {SPIN} if k in os.environ}}))"
    done = subprocess.run([sys.executable, "-c", code], env=others | given, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_waiting_threads_sleep_early():
    assert spin_after_import() == {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "1"}


@pytest.mark.parametrize("name", SPIN)
def test_what_the_user_set_stays_alone(name):
    assert spin_after_import(**{name: "7"}) == {name: "7"}


def test_threads_are_limited_unless_the_user_set_them(monkeypatch):
    before = torch.get_num_threads()
    try:
        monkeypatch.setenv("OMP_NUM_THREADS", "5")
        limit_threads(3)
        assert torch.get_num_threads() == before and os.environ["OMP_NUM_THREADS"] == "5"
        monkeypatch.delenv("OMP_NUM_THREADS")
        limit_threads(3)
        assert torch.get_num_threads() == 3 and os.environ["OMP_NUM_THREADS"] == "3"
    finally:
        torch.set_num_threads(before)
