"""An order in which the parts of an image matter, found step by step."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

# Smaller differences, as a fraction of the whole image's effect, are noise of the arithmetic.
_PRECISION = 1e-4
# Of the energy of a map, what the mere order of its parts gets.
_ORDER_SHARE = 0.01


def schedule(parts: int, rounds: int, backward: bool) -> list[int]:
    """Return how many parts have been taken after each round, close steps where few parts show.

    Args:
        parts: how many there are.
        rounds: at most.
        backward: whether all parts show at first, and are taken away.
    """
    found: list[int] = []
    for number in range(rounds):
        last = found[-1] if found else 0
        found.append(min(parts, max(last + 1, round(parts ** ((number + 1) / rounds)))))
        if found[-1] == parts:
            break
    return [parts - number for number in found[-2::-1]] + [parts] if backward else found


@dataclass
class GreedyOrder:
    """A windowed greedy search: each round tries the most promising parts only, and what is tried renews its promise.

    Args:
        promises: what each part changed when it was last tried.
        schedule: how many parts have been taken after each round.
        backward: whether the parts that change least are taken away, instead of those that change most added.
        whole: what all parts together change.
    """

    promises: Float[Tensor, " part"]
    schedule: list[int]
    backward: bool
    whole: float

    def __post_init__(self) -> None:
        self.unit = max(abs(self.whole) * _PRECISION, 1e-12)
        self.promises = self._rounded(self.promises)
        self.taken: list[int] = []
        self.gains: list[float] = []
        self.groups: list[list[int]] = []

    def as_values(self) -> Float[Tensor, " part"]:
        """Return what each part changed, falling in the order in which the parts matter.

        Where a later part changed more than an earlier one, as when two restore nothing but together, both get their
        mean (the nearest falling sequence in the sense of least squares). A hundredth of all holds the mere order.
        """
        blocks: list[tuple[float, int]] = []
        for gain in self.gains[:: -1 if self.backward else 1]:
            total, count = gain, 1
            while blocks and total * blocks[-1][1] > blocks[-1][0] * count:
                total, count = total + blocks[-1][0], count + blocks[-1][1]
                blocks.pop()
            blocks.append((total, count))
        falling = torch.tensor([max(total / count, 0.0) for total, count in blocks for _ in range(count)])
        ranks = torch.arange(len(falling), 0, -1.0)
        energy = float(falling.sum()) or 1.0
        values = torch.zeros(len(falling))
        values[self.order] = falling + ranks * (_ORDER_SHARE * energy / float(ranks.sum()))
        return values

    @property
    def done(self) -> bool:
        """Whether all parts have been taken."""
        return len(self.taken) == len(self.promises)

    @property
    def order(self) -> list[int]:
        """All parts, those that matter most first."""
        return self.taken[::-1] if self.backward else self.taken

    def candidates(self, window: int) -> list[list[int]]:
        """Return sets of parts to be tried: what has been taken, and the same with each group of a window.

        Groups are single parts unless this round takes more than half a window of them.
        """
        rest = self._rest()
        count = max(window, 2 * self._due())
        size = -(-count // window)
        self.groups = [rest[start : min(start + size, count)] for start in range(0, min(count, len(rest)), size)]
        return [self.taken, *([*self.taken, *group] for group in self.groups)]

    def advance(self, results: Float[Tensor, " set"]) -> None:
        """Take the parts of this round.

        Args:
            results: of the sets that were to be tried.
        """
        due = self._due()
        gains = self._rounded(results[1:] - results[0]).tolist()
        for group, gain in zip(self.groups, gains, strict=True):
            self.promises[group] = gain / len(group)
        sign = 1 if self.backward else -1
        best = sorted(zip(gains, self.groups, strict=True), key=lambda one: sign * one[0] / len(one[1]))
        take = [part for _, group in best for part in group][:due]
        self.taken = self.taken + take
        self.gains += [float(self.promises[part]) for part in take]

    def _rounded(self, values: Float[Tensor, " value"]) -> Float[Tensor, " value"]:
        return (values.double() / self.unit).round() * self.unit

    def _due(self) -> int:
        """Return how many parts this round takes."""
        return next(count for count in self.schedule if count > len(self.taken)) - len(self.taken)

    def _rest(self) -> list[int]:
        order = self.promises.argsort(descending=not self.backward, stable=True).tolist()
        gone = {*self.taken}
        return [part for part in order if part not in gone]
