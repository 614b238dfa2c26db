"""Images of which only some parts show."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from detinv.attribution.core.smoothing import smoothed
from detinv.attribution.trials.values import Values


class PartialImages:
    """Runs the detector on images of which only some parts show.

    Args:
        pixels: the canvas.
        empty: what shows where it is covered.
        parts: number of each pixel's part for each pair of object and question; -1 where padding always shows.
        counts: what a set of parts counts by: what it "restores", what it "removes", or "both".
    """

    def __init__(
        self, values: Values, pixels: Tensor, empty: Tensor, parts: Sequence[Tensor], counts: str, batch_size: int
    ) -> None:
        self.values, self.pixels, self.empty, self.parts = values, pixels, empty, parts
        self.restores, self.removes, self.batch_size = counts != "removes", counts != "restores", batch_size
        self.forwards = self.backwards = 0

    @property
    def whole(self) -> list[list[int]]:
        """All parts of each pair."""
        return [list(range(int(cells.max()) + 1)) for cells in self.parts]

    @property
    def each(self) -> int:
        """How many images one trial takes."""
        return self.restores + self.removes

    def along_the_way(self, points: int, spreads: Sequence[float]) -> list[Float[Tensor, " part"]]:
        """Return what each part of each pair changes on the straight way from the empty image, by its gradient.

        Args:
            points: on the way, at the middle of equal parts.
            spreads: standard deviation in pixels, for each pair, by which the change of each pixel is smoothed.
        """
        change = self.pixels - self.empty
        found = []
        for pair, cells in enumerate(self.parts):
            total = torch.zeros_like(self.pixels[0, 0])
            for part in ((torch.arange(points, device=change.device) + 0.5) / points).split(self.batch_size):
                leaf = torch.zeros_like(self.pixels).requires_grad_()
                with torch.enable_grad():
                    versions = self.empty + part[:, None, None, None] * change + leaf
                    value = self.values.value(versions, torch.full((len(part),), pair)).sum()
                total += (torch.autograd.grad(value, leaf)[0] * change)[0].sum(0)
            self.forwards, self.backwards = self.forwards + points, self.backwards + points
            total = smoothed(total[None], spreads[pair])[0]
            inside = cells >= 0
            sums = torch.zeros(int(cells.max()) + 1, device=total.device)
            found.append(sums.index_add(0, cells[inside], total[inside]).cpu() * self.each / points)
        return found

    @torch.no_grad()
    def run(self, sets: Sequence[tuple[int, list[int]]]) -> Float[Tensor, " set"]:
        """Return what the parts of each set restore, and what is lost without them, together.

        Args:
            sets: a pair's number, and numbers of its parts.
        """
        images = [(row, way) for row in range(len(sets)) for way in (True, False) if (self.removes, self.restores)[way]]
        found = torch.zeros(len(sets))
        for start in range(0, len(images), self.batch_size):
            part = images[start : start + self.batch_size]
            versions = torch.stack([self._version(*sets[row], shown=way) for row, way in part])
            answers = self.values.value(versions, torch.tensor([sets[row][0] for row, _ in part])).cpu()
            for (row, way), answer in zip(part, answers, strict=True):
                found[row] += answer if way else -answer
        self.forwards += len(images)
        return found

    def _version(self, pair: int, chosen: list[int], shown: bool) -> Tensor:
        """Return the image with only these parts, or without them."""
        cells = self.parts[pair]
        shows = torch.full((int(cells.max()) + 2,), not shown)
        shows[chosen] = shown
        shows[-1] = True
        return torch.where(shows.to(cells.device)[cells], self.pixels[0], self.empty)

    def as_map(self, pair: int, values: Float[Tensor, " part"]) -> Float[Tensor, "height width"]:
        """Return the values of a pair's parts at their places; 0 in the padding."""
        return torch.cat([values, values.new_zeros(1)]).to(self.pixels)[self.parts[pair]]
