"""Scenes in which suppression can go wrong."""

from collections.abc import Iterator

import numpy as np

from detinv.worlds.base import PixelBox, Placed
from detinv.worlds.plain import APPEARANCES, PlainWorld


class PairsWorld(PlainWorld):
    """Scenes with two overlapping objects of one class."""

    name = "pairs"

    def objects(self, generator: np.random.Generator) -> Iterator[Placed]:
        label = int(generator.integers(len(self.class_names)))
        yield from ((label, APPEARANCES[self.class_names[label]], box) for box in self.place(generator))

    def place(self, generator: np.random.Generator) -> list[PixelBox]:
        width, height = self.sides(generator)
        x0, y0, x1, y1 = self.somewhere(generator, width, height)
        shift = 0.62 * width if x1 + 0.62 * width < self.image_size[1] - 1 else -0.62 * width
        return [(x0, y0, x1, y1), (max(x0 + shift, 1.0), y0, x1 + shift, y1)]
