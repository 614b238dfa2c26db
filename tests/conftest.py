"""What all tests share: settings of Hypothesis, one thread, and two processes for the whole suite."""

import gc
import importlib.metadata
import os
import signal
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from hypothesis import settings

from tests.calls.checked import check_calls

# Torch reads this when it is imported, and so do the processes that tests start. Two threads gain little on networks
# as small as these, and the whole suite runs in as many processes as there are cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Tests of several threads share the cores with other tests: threads that wait must not keep a core busy.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# A suite that a script starts in the background inherits that interrupts are ignored, and so would what it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Shapes and types are checked at every call where tensors are computed. Elsewhere mypy does that alone: checks at every
# call would take a quarter of the suite's time.
CHECKED = ("attribution", "detectors", "inversion", "layouts", "metrics", "worlds", "zoo")
check_calls(tuple(f"detinv.{name}" for name in CHECKED))


@cache
def _installed(path: tuple[str, ...]) -> Any:
    return _entry_points()


def _known_entry_points(**which: str) -> Any:
    return _installed(tuple(sys.path)).select(**which)


# What is installed stays while tests run, and every trainer of Lightning and most compositions ask for it: to find out
# takes a hundredth of a second each time.
_entry_points = importlib.metadata.entry_points
importlib.metadata.entry_points = _known_entry_points

# The same examples at every run, and no limit of time: machines that test are slow and busy.
settings.register_profile("steady", derandomize=True, deadline=None)
settings.load_profile("steady")

# Each process imports the libraries anew (about 10 seconds) and holds up to 3 GB.
MAX_PROCESSES = 4


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return the number of processes for `-n auto`: one per core for the whole suite, none for chosen files.

    A few files start faster in the process that is there, and can be debugged in it. `-n 2` overrules this.
    """
    if config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return 0
    return min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, MAX_PROCESSES)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collect no garbage amid imports, which took a fifth of their time, and leave what was imported out of it later.

    Every inversion collects, and would walk through all of it.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()
