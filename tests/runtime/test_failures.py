"""The thread that watches the other processes, and how it ends."""

import subprocess
import sys
import threading

import torch

from detinv.runtime.failures import Failures

NAME = "detinv-failures"


def watching() -> bool:
    return any(thread.name == NAME for thread in threading.enumerate())


def test_nothing_watches_once_it_is_closed():
    failures = Failures(0, 2, torch.distributed.HashStore())
    assert watching()
    failures.close()
    assert not watching()
    assert failures.other is None


def test_a_process_ends_its_thread_before_python_ends():
    """Python stops what still runs, and a thread that is inside torch's store then takes the process down with it."""
    program = f"""
import atexit, threading
import torch
from detinv.runtime.failures import Failures

# Called last, since it was registered first.
atexit.register(lambda: print([thread.name for thread in threading.enumerate() if thread.name == {NAME!r}]))
failures = Failures(0, 2, torch.distributed.HashStore())
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stdout) == (0, "[]\n"), ended.stderr
