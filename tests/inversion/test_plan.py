"""Work is shared out so that every layout is done once, whatever was done before."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from detinv.inversion.plan import halved, plan
from detinv.layouts.layout import Layout

SIZES = [(32, 32), (64, 32), (40, 32)]


def layout(index: int, size: int) -> Layout:
    return Layout(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), SIZES[size], str(index))


@given(data=st.data())
def test_every_unfinished_layout_is_in_one_batch_of_one_process(data):
    count = data.draw(st.integers(1, 12))
    layouts = [layout(index, data.draw(st.integers(0, 2))) for index in range(count)]
    finished = data.draw(st.sets(st.integers(0, count - 1)))
    # Batches that several processes were at, some of which may be finished or claimed twice by now.
    kept = st.lists(st.integers(0, count - 1), min_size=1, max_size=4, unique=True)
    interrupted = data.draw(st.lists(kept, max_size=3))
    processes, batch_size = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5))
    plans = [plan(layouts, 32, batch_size, finished, interrupted, rank, processes) for rank in range(processes)]
    done = [index for batches in plans for batch in batches for index in batch]
    assert sorted(done) == sorted(set(range(count)) - finished)
    for batches in plans:
        for batch in batches:
            fresh = batch not in interrupted
            assert not fresh or len(batch) <= batch_size
            assert not fresh or len({-(-layouts[index].image_size[0] // 32) for index in batch}) == 1


def test_a_kept_batch_stays_together_and_goes_first():
    layouts = [layout(index, 0) for index in range(6)]
    assert plan(layouts, 32, 2, finished=[0], interrupted=[[3, 4, 5]]) == [[3, 4, 5], [1, 2]]


def test_a_run_that_goes_on_makes_the_same_batches():
    layouts = [layout(index, 0) for index in range(7)]
    whole = plan(layouts, 32, 3)
    assert plan(layouts, 32, 3, finished=whole[0]) == whole[1:]
    assert plan(layouts, 32, 3, finished=whole[0], interrupted=[whole[1]]) == whole[1:]


def test_halves_hold_the_same_layouts():
    assert halved([4, 5, 6]) == [[4, 5], [6]]
    assert halved([4, 5]) == [[4], [5]]


def test_a_crowded_layout_does_not_share_a_batch_with_sparse_ones():
    """Otherwise its object slots would be everyone's."""

    def crowd(name: str, objects: int) -> Layout:
        return Layout(
            torch.tensor([[1.0, 1.0, 9.0, 9.0]]).repeat(objects, 1), torch.zeros(objects).long(), (32, 32), name
        )

    layouts = [crowd(str(number), objects) for number, objects in enumerate([1, 4, 90, 0, 5, 2])]
    assert plan(layouts, 32, 16) == [[0, 1, 3, 5], [2], [4]]
