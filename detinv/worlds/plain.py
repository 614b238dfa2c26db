"""The world `plain`: every class has an outline of its own and a texture of its own."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from detinv.worlds import outlines, textures
from detinv.worlds.base import AbstractWorld, Placed
from detinv.worlds.scene import Appearance

APPEARANCES = {
    "circle": Appearance(outlines.circle, textures.Stripes(degrees=90.0)),
    "square": Appearance(outlines.square, textures.Stripes(degrees=0.0)),
    "triangle": Appearance(outlines.triangle, textures.Stripes(degrees=45.0)),
    "diamond": Appearance(outlines.diamond, textures.Stripes(degrees=135.0)),
    "star": Appearance(outlines.star, textures.Dots()),
    "cross": Appearance(outlines.cross, textures.Checks()),
    "ring": Appearance(outlines.ring, textures.Plain()),
}


@dataclass(frozen=True)
class PlainWorld(AbstractWorld):
    """Outline and texture each identify the class."""

    name = "plain"
    class_names = tuple(APPEARANCES)
    planted_truth = "Every class has an outline and a texture of its own; either identifies it."
    planted_orientations = {
        name: appearance.texture.degrees
        for name, appearance in APPEARANCES.items()
        if isinstance(appearance.texture, textures.Stripes)
    }

    def objects(self, generator: np.random.Generator) -> Iterator[Placed]:
        for box in self.place(generator):
            label = int(generator.integers(len(APPEARANCES)))
            yield label, APPEARANCES[self.class_names[label]], box
