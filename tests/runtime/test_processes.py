"""Processes that share work: each item is looked at once, and all of them know everything in order."""

import pytest

from detinv.runtime.processes import Processes


@pytest.mark.parametrize("items", [0, 1, 2, 7])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_work_is_shared_out_and_comes_back_in_order(count: int, items: int):
    looked: list[int] = []

    def look(some: list[int]) -> list[str]:
        looked.extend(some)
        return [f"seen {item}" for item in some]

    class Team(Processes):
        """All processes, one after the other."""

        def gather(self, value):
            others = [look(list(range(items))[rank :: self.count]) for rank in range(self.count) if rank != self.rank]
            return [*others[: self.rank], value, *others[self.rank :]]

    for rank in range(count):
        looked.clear()
        assert Team(rank, count).share(look, list(range(items))) == [f"seen {item}" for item in range(items)]
        assert sorted(looked) == list(range(items))
