"""Tasks that run at the same time in threads of Python."""

import threading

import pytest
import torch

from detinv.inversion.modules.workers import cpu_threads, run_together


def state(meeting: threading.Barrier) -> tuple:
    meeting.wait(10)
    grad, rounds = torch.is_grad_enabled(), torch.is_autocast_enabled("cpu")
    return grad, rounds, torch.get_autocast_dtype("cpu"), torch.get_num_threads()


def test_tasks_run_at_the_same_time_and_as_in_this_thread():
    meeting = threading.Barrier(3)
    with cpu_threads(3):
        with torch.no_grad(), torch.autocast("cpu", torch.float16):
            found = run_together([lambda: state(meeting)] * 3, 2)
        assert torch.get_num_threads() == 3
    assert found == [(False, True, torch.float16, 2)] * 3
    assert run_together([lambda: state(meeting)] * 3, 1) == [(True, False, torch.get_autocast_dtype("cpu"), 1)] * 3


def test_results_are_in_order():
    assert run_together([lambda number=number: number for number in range(5)], 1) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("place", [0, 1])
def test_an_error_is_raised_when_all_tasks_are_over(place):
    ended = threading.Event()

    def last() -> None:
        ended.wait(0.05)
        ended.set()

    def fails() -> None:
        raise MemoryError("of one task")

    tasks = [fails, last] if place == 0 else [last, fails]
    with pytest.raises(MemoryError, match="of one task"):
        run_together(tasks, 1)
    assert ended.is_set()
