"""Threads of Python that share one step's work on the CPU, each with whole images.

Operations on small images take some 100 microseconds. When each of them is divided among threads, as OpenMP does it,
threads that are done wait for the others several hundred times in a step, and on cores that other programs use as well,
they wait for threads that are not running. Here threads meet twice in a step. Python's lock is free while torch
computes.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

import torch

T = TypeVar("T")

_POOL: list[ThreadPoolExecutor] = []
# Threads do not survive a fork.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_POOL.clear)


def run_together(tasks: Sequence[Callable[[], T]], threads: int) -> list[T]:
    """Run tasks at the same time, the first in this thread, and return their results in order.

    Gradients are recorded, and numbers rounded by autocast, as in this thread.

    Args:
        tasks: at least one; they must not share what they change.
        threads: CPU threads that torch uses within each task.
    """
    records, rounds = torch.is_grad_enabled(), torch.is_autocast_enabled("cpu")
    dtype = torch.get_autocast_dtype("cpu")

    def run_elsewhere(task: Callable[[], T]) -> T:
        torch.set_num_threads(threads)
        with torch.set_grad_enabled(records), torch.autocast("cpu", dtype, enabled=rounds):
            return task()

    with cpu_threads(threads):
        others: list[Future[T]] = [_pool().submit(run_elsewhere, task) for task in tasks[1:]]
        try:
            mine = tasks[0]()
        finally:
            # What failed here may be tried again, with memory that the others must have given back.
            wait(others)
        return [mine, *(other.result() for other in others)]


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Divide every CPU operation among `count` threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _pool() -> ThreadPoolExecutor:
    if not _POOL:
        _POOL.append(ThreadPoolExecutor(thread_name_prefix="detinv"))
    return _POOL[0]
