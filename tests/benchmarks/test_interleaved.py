"""Tasks in turns: their order, and what is measured of each."""

import mmap
import time

import torch

from detinv.benchmarks.interleaved import take_turns

CPU = torch.device("cpu")
MEGABYTE = 10**6


def test_tasks_take_turns_and_warming_up_is_not_counted():
    called = []
    costs = take_turns({"a": lambda: called.append("a"), "b": lambda: called.append("b")}, 2, CPU, warmup=1)
    assert called == ["a", "b"] * 3
    assert [len(one.wall) for one in costs.values()] == [2, 2]


def test_waiting_takes_wall_time_and_memory_is_that_of_the_task():
    def wait() -> None:
        time.sleep(0.05)

    def fill() -> None:
        # Fresh pages, and long enough to be sampled: an allocator may have some that were used before.
        with mmap.mmap(-1, 80 * MEGABYTE) as held:
            for _ in range(80):
                held.write(bytes(MEGABYTE))
            time.sleep(0.2)

    costs = take_turns({"wait": wait, "fill": fill}, 1, CPU, warmup=0)
    waited, filled = costs["wait"].medians(), costs["fill"].medians()
    assert waited["wall_seconds"] >= 0.05 > waited["cpu_seconds"]
    assert waited["memory"] < 20 < filled["memory"] < 200
