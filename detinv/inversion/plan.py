"""Division of a job into batches, and of batches among processes: pure arithmetic on indices of layouts."""

from collections.abc import Collection, Sequence

from detinv.inversion.pixels.pixels import batches_by_canvas
from detinv.layouts.layout import Layout


def plan(
    layouts: Sequence[Layout],
    divisor: int,
    batch_size: int,
    finished: Collection[int] = (),
    interrupted: Sequence[Sequence[int]] = (),
    rank: int = 0,
    processes: int = 1,
) -> list[list[int]]:
    """Plan the batches of one process; those of all processes hold every unfinished layout once.

    Args:
        layouts: of the whole job, finished or not.
        divisor: see `batches_by_canvas`.
        batch_size: most layouts in a new batch.
        finished: indices of layouts that need no more work.
        interrupted: batches whose state was saved; they stay together and come first.
        rank, processes: this process's number, and how many there are.

    Returns:
        Batches, as indices of layouts.
    """
    begun: list[list[int]] = []
    taken = set(finished)
    for batch in interrupted:
        # Of the batches that several crashed processes saved, some layouts may be finished or planned by now.
        if not taken.intersection(batch):
            begun.append(list(batch))
            taken.update(batch)
    mine = [index for index in range(rank, len(layouts), processes) if index not in taken]
    fresh = batches_by_canvas([layouts[index] for index in mine], divisor, batch_size)
    return begun[rank::processes] + [[mine[place] for place in members] for members in fresh]


def halved(batch: Sequence[int]) -> list[list[int]]:
    """Split a batch in two halves, the first not smaller than the second."""
    middle = -(-len(batch) // 2)
    return [list(batch[:middle]), list(batch[middle:])]
