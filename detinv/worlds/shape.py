"""The world `shape`: the outline alone identifies the class; textures are random."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from detinv.worlds import outlines
from detinv.worlds.base import AbstractWorld, Placed
from detinv.worlds.scene import Appearance
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
    """Classes have the names of the classes in `plain` with the same outlines."""

    name = "shape"
    class_names = tuple(OUTLINES)
    planted_truth = "The outline alone identifies the class; every class occurs with every texture."

    def objects(self, generator: np.random.Generator) -> Iterator[Placed]:
        for box in self.place(generator):
            label = int(generator.integers(len(OUTLINES)))
            yield label, Appearance(OUTLINES[self.class_names[label]], random_texture(generator)), box
