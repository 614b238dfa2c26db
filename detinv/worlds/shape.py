"""The world `shape`: the outline alone tells the class; textures are drawn at random."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from detinv.worlds import outlines
from detinv.worlds.base import AbstractWorld, Placed
from detinv.worlds.scene import Look
from detinv.worlds.textures import random_texture

OUTLINES = {
    "circle": outlines.circle,
    "square": outlines.square,
    "triangle": outlines.triangle,
    "diamond": outlines.diamond,
    "cross": outlines.cross,
}


@dataclass(frozen=True)
class ShapeWorld(AbstractWorld):
    """Classes bear the names that their outlines have in `plain`."""

    name = "shape"
    class_names = tuple(OUTLINES)
    planted_truth = "The outline alone tells the class; every class has every texture."

    def objects(self, generator: np.random.Generator) -> Iterator[Placed]:
        for box in self.place(generator):
            label = int(generator.integers(len(OUTLINES)))
            yield label, Look(OUTLINES[self.class_names[label]], random_texture(generator)), box
