"""The thread that watches the other processes, and how it ends."""

import subprocess
import sys
import threading
import time

import pytest
import torch

from detinv.errors import ProcessError
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


class Ended:
    """A process that has ended."""

    def __init__(self, status: int) -> None:
        self.status = status

    def poll(self) -> int:
        return self.status


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (-9, "it was killed (SIGKILL), as a system does that runs out of memory"),
        (-15, "it was killed (SIGTERM)"),
        (3, "it ended with exit status 3"),
    ],
)
def test_all_learn_of_a_process_that_was_killed(status: int, reason: str):
    store = torch.distributed.HashStore()
    team = [Failures(0, 3, store, [Ended(0), Ended(status)]), Failures(1, 3, store)]
    try:
        for failures in team:
            with pytest.raises(ProcessError) as told:
                failures.wait(lambda: time.sleep(5))
            assert str(told.value) == f"process 2 failed: {reason}"
            assert told.value.reported == (failures.rank != 0)
    finally:
        for failures in team:
            failures.close()


def test_what_a_process_said_before_it_ended_counts():
    store = torch.distributed.HashStore()
    store.set("failure", "1 ConfigError: the reason")
    failures = Failures(0, 2, store, [Ended(2)])
    with pytest.raises(ProcessError, match="process 1 failed: ConfigError: the reason"):
        failures.wait(lambda: time.sleep(5))
    failures.close()


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
