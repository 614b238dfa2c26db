"""The world `plain`: every class has an outline of its own and a texture of its own."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from detinv.worlds import outlines, textures
from detinv.worlds.base import AbstractWorld, Placed
from detinv.worlds.scene import Look

LOOKS = {
    "circle": Look(outlines.circle, textures.Stripes(degrees=90.0)),
    "square": Look(outlines.square, textures.Stripes(degrees=0.0)),
    "triangle": Look(outlines.triangle, textures.Stripes(degrees=45.0)),
    "diamond": Look(outlines.diamond, textures.Stripes(degrees=135.0)),
    "star": Look(outlines.star, textures.Dots()),
    "cross": Look(outlines.cross, textures.Checks()),
    "ring": Look(outlines.ring, textures.Plain()),
}


@dataclass(frozen=True)
class PlainWorld(AbstractWorld):
    """Only outline and texture tell the class, and either would do."""

    name = "plain"
    class_names = tuple(LOOKS)
    planted_truth = "Every class has an outline of its own and a texture of its own; either tells it."
    planted_orientations = {
        name: look.texture.degrees for name, look in LOOKS.items() if isinstance(look.texture, textures.Stripes)
    }

    def objects(self, generator: np.random.Generator) -> Iterator[Placed]:
        for box in self.place(generator):
            label = int(generator.integers(len(LOOKS)))
            yield label, LOOKS[self.class_names[label]], box
