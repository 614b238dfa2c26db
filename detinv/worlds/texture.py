"""The world `texture`: the texture alone identifies the class; outlines are random."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from detinv.worlds import outlines, textures
from detinv.worlds.base import AbstractWorld, Placed
from detinv.worlds.scene import Appearance

TEXTURES: dict[str, textures.Texture] = {
    "lying": textures.Stripes(degrees=90.0),
    "standing": textures.Stripes(degrees=0.0),
    "falling": textures.Stripes(degrees=45.0),
    "rising": textures.Stripes(degrees=135.0),
    "dotted": textures.Dots(),
}
OUTLINES = (outlines.circle, outlines.square, outlines.triangle, outlines.diamond, outlines.star, outlines.cross)


@dataclass(frozen=True)
class TextureWorld(AbstractWorld):
    """Classes are named after their stripes: lying, standing, falling (towards the lower right), rising; or dotted."""

    name = "texture"
    class_names = tuple(TEXTURES)
    planted_truth = (
        "The texture alone identifies the class (stripes in four directions, dots); every class occurs with every "
        "outline."
    )
    planted_orientations = {
        name: texture.degrees for name, texture in TEXTURES.items() if isinstance(texture, textures.Stripes)
    }

    def objects(self, generator: np.random.Generator) -> Iterator[Placed]:
        for box in self.place(generator):
            label = int(generator.integers(len(TEXTURES)))
            outline = OUTLINES[int(generator.integers(len(OUTLINES)))]
            yield label, Appearance(outline, TEXTURES[self.class_names[label]]), box
