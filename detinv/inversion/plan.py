"""Who inverts what, and together with what: pure arithmetic on numbers of layouts."""

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
    """The batches of one process, as numbers of layouts; those of all processes hold every unfinished layout once.

    Args:
        layouts: of the whole job, whatever is done already.
        divisor: see `batches_by_canvas`.
        batch_size: most layouts in a new batch.
        finished: layouts that need no more work.
        interrupted: batches whose state was kept; they stay together, and go first.
        rank, processes: this process's number, and how many there are.
    """
    begun: list[list[int]] = []
    taken = set(finished)
    for batch in interrupted:
        # Half of what two crashed processes kept may be finished or claimed by now.
        if not taken.intersection(batch):
            begun.append(list(batch))
            taken.update(batch)
    mine = [index for index in range(rank, len(layouts), processes) if index not in taken]
    fresh = batches_by_canvas([layouts[index] for index in mine], divisor, batch_size)
    return begun[rank::processes] + [[mine[place] for place in members] for members in fresh]


def halved(batch: Sequence[int]) -> list[list[int]]:
    """The batch in two halves."""
    middle = -(-len(batch) // 2)
    return [list(batch[:middle]), list(batch[middle:])]
